"""Warnings that a row's accuracy may be too high because of gradient masking (Athalye et al. 2018, arXiv:1802.00420).

Two signs are checked: the warnings of an attack about its own gradients, and attacks without gradients of the defense
that break more images than attacks with them (Carlini et al. 2019, arXiv:1902.06705, section 3). `attacks.mechanisms`
defines which attacks follow the gradient of the defense. Other warnings of the attacks are passed on to the row
unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from purebench.core.warning_codes import OF_GRADIENTS, OF_ONE_ATTACK, ResultWarning, WarningCode, joined
from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.results import ANSWERED, CLEAN, DefenseResult
from purebench.statistics import mcnemar

Bools = npt.NDArray[np.bool_]

BEATEN = (
    "attacks without the defense's gradient ({}) break images that no attack with it breaks, so gradients may be "
    "masked (Carlini et al. 2019); images that only they break"
)
LEVEL = 0.05
"""Significance level of the two-sided test of attacks without the gradient against attacks with it."""


def doubts(result: DefenseResult) -> tuple[ResultWarning, ...]:
    """Return the warnings that a row's robust accuracy may be too high.

    Args:
        result: the result of a defense.

    Returns:
        The warnings. Those about gradients are included only if some image is robust, because without one a gradient is
            not needed.
    """
    asked = [attack for attack in result.common if not (attack.skipped or attack.failed)]
    following = [attack for attack in asked if attack.follows_gradient]
    alone = [attack for attack in following if attack.gradient_alone]  # without AutoAttack, which ends with Square
    others = [attack for attack in asked if attack not in following and not _no_attack(attack)]
    found = list(_named(asked, frozenset(WarningCode) - OF_GRADIENTS - OF_ONE_ATTACK))
    if any(_held(outcomes) for outcomes in _by_image(result.common)):
        found += [*_noted(following), *(() if result.cascade else _beaten(result, alone or following, others))]
    return tuple(found)


def _no_attack(attack: AttackResult) -> bool:
    return attack.name == CLEAN or bool(attack.certified) or attack.control is not None


def _named(attacks: Sequence[AttackResult], codes: Set[WarningCode]) -> Iterator[ResultWarning]:
    """Yield the attacks' warnings with these codes, equal ones once, each preceded by the names of its attacks."""
    told = [(attack.name, warning) for attack in attacks for warning in attack.warnings if warning.code in codes]
    for one in joined(warning for _, warning in told):
        names = dict.fromkeys(name for name, warning in told if (warning.code, warning.text) == (one.code, one.text))
        yield replace(one, text=f"{', '.join(names)}: {one.text}")


def _held(outcomes: Sequence[Outcome]) -> bool:
    return Outcome.ROBUST in outcomes and Outcome.MISCLASSIFIED not in outcomes and Outcome.ERRORED not in outcomes


def _noted(following: Sequence[AttackResult]) -> Iterator[ResultWarning]:
    """Yield attacks' warnings about their gradients, unless an attack without one broke more images."""
    warned = [attack for attack in following if any(warning.code in OF_GRADIENTS for warning in attack.warnings)]
    most = max((attack.count(Outcome.MISCLASSIFIED) for attack in warned), default=0)
    sound = (attack for attack in following if attack.gradient_alone and attack not in warned)
    if not any(attack.count(Outcome.MISCLASSIFIED) > most for attack in sound):
        yield from _named(warned, OF_GRADIENTS)


def _beaten(
    result: DefenseResult, following: Sequence[AttackResult], others: Sequence[AttackResult]
) -> Iterator[ResultWarning]:
    """Yield a warning if all attacks without the gradient together break more images than all attacks with it together.

    It uses McNemar's exact test on images without an ERRORED attack. It does not apply to a cascade, whose attacks have
    different images.
    """
    if not following or not others:
        return
    whole = ~np.any([attack.has(Outcome.ERRORED) for attack in result.common], axis=0)
    compared = np.asarray(whole & _answered(following) & _answered(others), dtype=np.bool_)
    without, along = (_broken(result, pool) & compared for pool in (others, following))
    more, fewer = int((without & ~along).sum()), int((along & ~without).sum())
    if more > fewer and mcnemar(more, fewer) < LEVEL:
        names = ", ".join(attack.name for attack in others)
        yield ResultWarning(WarningCode.GRADIENT_FREE_STRONGER, BEATEN.format(names), more, int(compared.sum()))


def _by_image(attacks: Sequence[AttackResult]) -> Iterator[tuple[Outcome, ...]]:
    """Return the outcome of each image under every attack."""
    return zip(*(attack.outcomes for attack in attacks), strict=True)


def _answered(pool: Sequence[AttackResult]) -> Bools:
    """Return the images for which some attack of the pool answered."""
    return np.asarray(np.any([attack.has(*ANSWERED) for attack in pool], axis=0), dtype=np.bool_)


def _broken(result: DefenseResult, pool: Sequence[AttackResult]) -> Bools:
    """Return the images [images] that are misclassified under the strongest attack of the pool.

    For a random defense the strongest attack is picked on the first half of the draws, and the majority of the other
    half decides, so that a larger pool does not break more images by chance alone.
    """
    answered = np.stack([attack.has(*ANSWERED) for attack in pool])
    right = np.stack([result.right(attack) for attack in pool]) | ~answered[:, :, None]
    half = result.draws // 2
    if half == 0:
        return np.asarray(~right.all(axis=(0, 2)), dtype=np.bool_)
    picked = right[:, :, :half].mean(2).argmin(0)
    decided: Bools = right[picked, np.arange(right.shape[1]), half:].mean(1) <= 0.5
    return decided
