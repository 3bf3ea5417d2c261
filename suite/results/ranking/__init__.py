"""Ranks of the rows of a board, and paired comparisons of two rows."""
