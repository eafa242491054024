"""A manifest and a recogniser in, predictions out."""
