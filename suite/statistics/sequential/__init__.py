"""Inference that holds at any time."""
