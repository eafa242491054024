"""Supervised training: one loop, its objectives, methods and checkpoints."""
