"""Text: the one clean-up and the one notion of a unit."""
