"""Boards: the schema of a board.yaml."""
