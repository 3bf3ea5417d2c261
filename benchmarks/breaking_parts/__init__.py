"""Defenses with known faults, and the small classifier that they wrap."""
