"""Boards and their pages: what is run, what was found, and how it is shown."""
