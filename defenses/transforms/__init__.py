"""Transforms of the image that need no model."""
