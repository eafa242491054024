"""Base models measured before anything is spent."""
