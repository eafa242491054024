"""The offline laboratory: synthetic speech and a micro model."""
