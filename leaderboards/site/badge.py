"""The badge of a row: whether someone other than its author has verified the result."""

from __future__ import annotations

from purebench.results.ranking.rank import Row

UNVERIFIED = "unverified"


def badge(row: Row) -> str:
    """Return the badge of a row in words."""
    return UNVERIFIED
