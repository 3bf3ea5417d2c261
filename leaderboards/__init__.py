"""Boards and their pages: definitions, committed results and presentation."""
