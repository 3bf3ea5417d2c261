"""Attacks without gradients."""
