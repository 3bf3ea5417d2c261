"""The share of correct draws of each image: at its picked adversarial example, or under the worst of some attacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from purebench.core.errors import PurebenchError
from purebench.records.answers import gather
from purebench.results.attack_result import AttackResult
from purebench.results.results import DefenseResult
from purebench.statistics import robust_per_image

Floats = npt.NDArray[np.float64]
DIGITS = 9
"""Digits after which means of equal shares may differ, by the order of their sums."""


def comparable(mean: float) -> float:
    """Round a mean, so that the order of its sum does not decide whether two means are equal."""
    return round(mean, DIGITS)


def per_image(found: DefenseResult, *, errored: float = 0.0) -> Floats:
    """Return the share of correct fresh draws at the picked adversarial example of each image.

    Args:
        found: the result of the defense.
        errored: the value of an image whose score is unknown because of an error (see `DefenseResult.scores`): 0 for
            wrong, 1 for correct.

    Returns:
        Shares [images] in [0,1], in the board's random order.

    Raises:
        PurebenchError: no attack applies to an image.
    """
    scores = found.scores(errored=errored)
    if np.isnan(scores).any():
        raise PurebenchError(f"{found.name}: expected an attack that applies to every image, but there is none.")
    return scores


def under(found: DefenseResult, attacks: Sequence[AttackResult]) -> Floats:
    """Return the split-draw worst case of each image under some attacks of the defense.

    Args:
        found: the result of the defense.
        attacks: the attacks; a draw that ERRORED counts as wrong.

    Returns:
        Shares of correct draws [images] in [0,1].

    Raises:
        PurebenchError: none of the attacks applies to an image.
    """
    answers = gather([(attack.outcomes, attack.draws) for attack in attacks], found.draws)
    if answers is None or not answers.counts.any(axis=0).all():
        raise PurebenchError(f"{found.name}: expected an attack that applies to every image, but there is none.")
    return robust_per_image(answers.right, answers.counts, in_order=True)
