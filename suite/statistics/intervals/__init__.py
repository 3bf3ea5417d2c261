"""Confidence intervals of a mean of values in [0,1]."""
