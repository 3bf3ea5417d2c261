"""`purebench tune`."""

from __future__ import annotations


def tune() -> None:
    """Not written yet."""
