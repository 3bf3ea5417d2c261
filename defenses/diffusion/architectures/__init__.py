"""Noise-prediction networks, in the layouts in which their checkpoints are published."""
