"""Audio in: waveforms and their features."""
