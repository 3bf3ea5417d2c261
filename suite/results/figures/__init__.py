"""Figures beside the robust accuracy, which are never ranked: known randomness, figures of papers, costs."""
