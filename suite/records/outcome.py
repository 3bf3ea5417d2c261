"""Defines the outcomes of an image, and the name of the worst case."""

from __future__ import annotations

from enum import StrEnum

WORST_CASE = "worst-case"
"""Name that replaces the attack's name in the record of a worst-case job; it is reserved."""


class Outcome(StrEnum):
    """Outcome of an image under an attack, decided by verification alone.

    Attributes:
        ROBUST: More than half of the verification draws were right.
        MISCLASSIFIED: At most half of the verification draws were right.
        ERRORED: The attack or the defense failed; never counted as robust.
        SKIPPED: The attack does not apply to this defense.
    """

    ROBUST = "robust"
    MISCLASSIFIED = "misclassified"
    ERRORED = "errored"
    SKIPPED = "skipped"


ANSWERED = (Outcome.ROBUST, Outcome.MISCLASSIFIED)
"""Outcomes of images that the defense answered."""
