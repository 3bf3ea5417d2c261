"""Adaptive attacks that use the structure of a purifier."""
