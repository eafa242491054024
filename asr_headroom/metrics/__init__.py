"""Pure functions of text and counts: no model, no file, no torch."""
