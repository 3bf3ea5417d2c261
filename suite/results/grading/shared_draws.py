"""Scores of controls whose images share the random choice of a call, such as the model of an ensemble."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from purebench.results.grading.evidence import ControlScore, Recovery
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate
from purebench.statistics.intervals.shared_draws import shared_draws_interval


def with_shared_draws(
    score: ControlScore, result: DefenseResult, scored: npt.NDArray[np.bool_], truth: npt.NDArray[np.float64]
) -> ControlScore:
    """Return the score with intervals over images and draws; it is undecided, as tests by image are not valid.

    Accuracies under a part of the attacks have no known interval, so that theirs is [0, 1].

    Args:
        score: the score as of a control whose draws are independent.
        result: the result of the control.
        scored: the images with a known truth, bool [images].
        truth: the upper bounds of their truth [scored images].
    """
    doubtful, shares = result.doubtful[:, np.newaxis], np.nan_to_num(result.scores(errored=1.0), nan=1.0)
    right = np.where(doubtful | ~result.scored[:, np.newaxis], shares[:, np.newaxis], result.fresh)[scored]
    confidence = score.measured.confidence
    excess = shared_draws_interval((right - truth[:, np.newaxis] + 1) / 2, confidence, anytime=result.anytime)
    ends = {name: 2 * getattr(excess, name) - 1 for name in ("value", "low", "high")}
    return replace(
        score,
        measured=shared_draws_interval(right, confidence, anytime=result.anytime),
        without_transfer=None if score.without_transfer is None else _unknown(score.without_transfer),
        by_attack_kind={kind: _unknown(found) for kind, found in score.by_attack_kind.items()},
        excess=replace(excess, **ends),
        recovery=Recovery.UNDECIDED,
        recovery_without_transfer=Recovery.UNDECIDED,
        below_proof=False,
    )


def _unknown(found: Estimate) -> Estimate:
    return replace(found, low=0.0, high=1.0)
