"""Purification by Langevin dynamics on an energy-based model."""
