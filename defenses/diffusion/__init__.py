"""Purifiers based on diffusion models."""
