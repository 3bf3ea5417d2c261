"""Derives other boards from a board: its controls, its ladder of effort, and its dev images."""
