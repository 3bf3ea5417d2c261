"""`purebench inspect`."""

from __future__ import annotations


def inspect_latents() -> None:
    """Not written yet."""
