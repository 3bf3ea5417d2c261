"""Texts of the cells of the tables that `purebench compare` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from purebench.statistics import Estimate

SMALLEST_P = 1e-4
"""Smallest p-value that is printed as a number."""


def p_text(p_value: float) -> str:
    """Return a p-value with two digits, such as "0.031" or "< 0.0001"."""
    return f"{p_value:.2g}" if p_value >= SMALLEST_P else "< 0.0001"


def points_text(difference: Estimate) -> str:
    """Return a difference of accuracies and its interval in points, such as "+2.1 [-3.0, +7.2]"."""
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
