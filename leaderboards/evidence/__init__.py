"""Presents the evidence behind the numbers of a board."""
