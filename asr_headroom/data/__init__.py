"""Recordings with transcripts: manifests, readers, splits, batches."""
