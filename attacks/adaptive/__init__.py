"""Attacks that use the structure of a purifier."""
