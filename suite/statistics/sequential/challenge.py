"""Tests whether the k-th submission to a standing challenge beats the incumbent adversarial examples.

Submissions are tested at levels that sum to the error probability of the whole challenge, however many there are:
alpha · 6 / (π² k²), because Σ 1/k² = π²/6. A bound is falsely lowered with a probability of at most alpha.

The test compares fresh draws at the two adversarial examples of each image in pairs. A pair counts for the submission
if the defense was right at the incumbent's example and wrong at the submitted one, and against it in the opposite case.
If no submitted example is better, a counting pair is for the submission with a probability of at most 1/2,
independently of the others, so that their number is at most binomial: an exact one-sided sign test (McNemar,
Psychometrika 12, 1947).
A deterministic defense has no random numbers: one more misclassified image is certain.
"""

from __future__ import annotations

from math import pi

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

Bools = npt.NDArray[np.bool_]

ALPHA = 0.05
"""Probability that a challenge falsely lowers a bound, over all submissions."""


def challenge_level(number: int, alpha: float = ALPHA) -> float:
    """Return the level of a test: alpha · 6 / (π² k²).

    Args:
        number: Number of the submission, k >= 1.
        alpha: Sum of the levels of all submissions, in (0,1).

    Raises:
        ValueError: If a number is out of range.
    """
    if number < 1 or not 0 < alpha < 1:
        raise ValueError(f"expected a number of at least 1 and alpha in (0,1), but got {number!r} and {alpha!r}")
    return alpha * 6 / (pi * number) ** 2


def better_picks(incumbent: Bools, submitted: Bools) -> Bools:
    """Return the images at which the submitted example is picked: the defense was right there in fewer draws.

    Args:
        incumbent: [n, draws], True where the defense was right at the incumbent example.
        submitted: [n, draws], the same at the submitted example.

    Returns:
        bool [n]; these draws must not be used again.
    """
    return np.asarray(submitted.mean(axis=1) < incumbent.mean(axis=1))


def paired_signs(incumbent: Bools, submitted: Bools) -> tuple[int, int]:
    """Count the pairs of draws that are for and against the submission.

    Args:
        incumbent: [n, draws], True where the defense was right at the incumbent example.
        submitted: [n, draws], the same at the submitted example, of other draws.

    Returns:
        Numbers of pairs for the submission and against it.
    """
    gains = incumbent.astype(np.int64) - submitted.astype(np.int64)
    return int((gains > 0).sum()), int((gains < 0).sum())


def challenge_p_value(better: npt.ArrayLike, worse: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute the exact one-sided p-value of "no submitted example is better".

    Args:
        better: Numbers of pairs for the submission.
        worse: Numbers of pairs against it, of the same shape.

    Returns:
        P(X >= better) for X binomial with better + worse trials of probability 1/2.
    """
    plus, minus = np.asarray(better, dtype=np.float64), np.asarray(worse, dtype=np.float64)
    return np.where(plus > 0, betainc(np.maximum(plus, 1), minus + 1, 0.5), 1.0)  # the tail of the binomial
