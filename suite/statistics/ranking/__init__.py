"""Paired comparisons and simultaneous confidence intervals of ranks."""
