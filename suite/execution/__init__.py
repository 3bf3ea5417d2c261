"""Runs the jobs of a board: context, attack, verification, worst case, scheduling."""
