"""Defines the outcomes of an image, and the names of the worst case and of the best known attack."""

from __future__ import annotations

from enum import StrEnum

WORST_CASE = "worst-case"
"""Name that replaces the attack's name in the record of a worst-case job; it is reserved."""
BEST_KNOWN = "best-known"
"""The same for the worst case that includes the attacks that are bespoke to a row; it is reserved."""
PICKED = (WORST_CASE, BEST_KNOWN)
"""Names of records of picked adversarial examples."""


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
