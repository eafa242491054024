"""Where the errors are and what changed."""
