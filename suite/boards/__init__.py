"""Boards: schema, parsing and selection, the jobs of a board and their keys."""
