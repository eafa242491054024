"""Model families behind small protocols."""
