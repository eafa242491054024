"""Named data profiles, one file per corpus."""
