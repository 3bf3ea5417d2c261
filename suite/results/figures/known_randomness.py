"""The accuracy against an attacker who knows the random numbers, and its gap to that under unknown ones.

The accuracy is an upper bound, as every accuracy under an attack is: a longer attack may lower it. Its true value is at
most the robust accuracy, and the true gap is not negative, because an attacker who knows the random numbers may
ignore them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from purebench.results.attack_result import AttackResult
from purebench.results.results import ANSWERED, DefenseResult
from purebench.statistics import Estimate, interval, interval_method, paired_difference


@dataclass(frozen=True)
class KnownRandomnessFigures:
    """The figures of an attack with known randomness; they are no part of the robust accuracy.

    Attributes:
        attack: the name of the attack on the board.
        seeds: the number of seeds per image.
        accuracy: the accuracy under known randomness: the mean over images of the share of seeds under which the frozen
            defense is right at the point found for it; an upper bound.
        unknown: the accuracy at the attack's own final points under unknown randomness, on the same images.
        gap: `unknown` minus `accuracy`, image by image, in [-1,1].
        robust: the robust accuracy of the row; None where it is not known, or known on other images than `accuracy`.
    """

    attack: str
    seeds: int
    accuracy: Estimate
    unknown: Estimate
    gap: Estimate
    robust: Estimate | None

    @property
    def not_optimised(self) -> bool:
        """Whether the accuracy is above the robust accuracy, which its true value is not."""
        return self.robust is not None and self.accuracy.value > self.robust.value


def known_randomness(result: DefenseResult, attack: AttackResult) -> KnownRandomnessFigures | None:
    """Return the figures of an attack with known randomness, over the images that it answered.

    Args:
        result: the result of the defense.
        attack: one of its attacks.

    Returns:
        The figures; None for other attacks, and if no image was answered.
    """
    pairs = zip(attack.known_right, attack.outcomes, strict=bool(attack.known_right))
    asked = np.array([count is not None and outcome in ANSWERED for count, outcome in pairs], dtype=np.bool_)
    if not asked.any():
        return None
    counts = np.array([count or 0 for count in attack.known_right], dtype=np.float64)
    known, unknown = counts[asked] / attack.known_seeds, result.right(attack)[asked].mean(axis=1)
    method, confidence = interval_method(False, result.anytime), float(result.board["confidence"])
    return KnownRandomnessFigures(
        attack=attack.name,
        seeds=attack.known_seeds,
        accuracy=interval(known, method, confidence),
        unknown=interval(unknown, method, confidence),
        gap=paired_difference(unknown, known, confidence, anytime=result.anytime),
        robust=result.robust if asked.all() else None,
    )
