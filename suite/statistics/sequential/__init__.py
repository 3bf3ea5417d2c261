"""Inference that is valid at any time."""
