"""Reinforcement learning: another objective in the training loop. Start with :mod:`asr_headroom.rl.objective`."""
