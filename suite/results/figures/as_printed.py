"""The figures that papers on random defenses print, beside those of fresh draws and those of clean images.

The code of DiffHammer (Wang et al. 2024) computes two robust accuracies from the draws that the attack itself made.
With c[i,k] wrong draws of image i among the D draws of look k,

    Avg = 1 - mean_i max_k c[i,k] / D         Wor = 1 - mean_i 1[sum_k c[i,k] > 0]

so that more looks lower both, also at images that were never attacked. Equally many looks at the clean image show by
how much. The other figures are estimated from the verification draws at the attack's final point, which are independent
of the attack: their expectation does not depend on the number of looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from purebench.core.answers import LEAST_DRAWS, LookCount
from purebench.results.attack_result import AttackResult
from purebench.results.results import ANSWERED, CLEAN, DefenseResult
from purebench.statistics import Estimate, interval, interval_method, resubmission_per_image
from purebench.statistics.worst_case.resubmission import majority_of_share

Floats = npt.NDArray[np.float64]
WORST_OF = 10
"""Number of draws of the figure Wor.N of DiffHammer."""
VOTERS = (8, 128)
"""Numbers of draws of the figure MV of DiffBreak (Kassis et al. 2025): 128 copies on CIFAR-10, 8 elsewhere."""


@dataclass(frozen=True)
class PrintedFigure:
    """One figure, attacked and clean.

    Attributes:
        name: its name, such as "Wor.10 (fresh)".
        attacked: the figure under the attack.
        clean: the same figure of clean images, with equally many looks or draws; None without clean images.
    """

    name: str
    attacked: Estimate
    clean: Estimate | None


@dataclass(frozen=True)
class PrintedFigures:
    """The figures of one attack whose looks were counted.

    Attributes:
        attack: the name of the attack on the board.
        looks: the mean number of looks at an image; images that leave the attack early have fewer.
        draws: the mean number of draws of a look.
        avg: Avg, as DiffHammer prints it.
        wor: Wor, as DiffHammer prints it.
        fresh: the figures of the verification draws.
    """

    attack: str
    looks: float
    draws: float
    avg: PrintedFigure
    wor: PrintedFigure
    fresh: tuple[PrintedFigure, ...]

    @property
    def figures(self) -> tuple[PrintedFigure, ...]:
        """All figures, those that papers print first."""
        return (self.avg, self.wor, *self.fresh)


def as_printed(result: DefenseResult, attack: AttackResult) -> PrintedFigures | None:
    """Return the figures of papers for an attack whose looks were counted; None for other attacks, and for few draws.

    Args:
        result: the result of the defense.
        attack: one of its attacks.
    """
    seen = [one for one in attack.looks if one is not None and one.looks]
    unmoved = [one for one in attack.clean_looks if one is not None and one.looks]
    looks, draws = sum(one.looks for one in seen), sum(one.draws for one in seen)
    if not seen or draws < LEAST_DRAWS * looks:
        return None
    estimate = _estimator(result)

    def printed(name: str, of: Callable[[LookCount], float]) -> PrintedFigure:
        attacked, clean = (estimate(np.array([of(one) for one in counts])) for counts in (seen, unmoved))
        return PrintedFigure(f"{name} (as DiffHammer prints)", attacked, clean)

    return PrintedFigures(
        attack=attack.name,
        looks=looks / len(seen),
        draws=draws / looks,
        avg=printed("Avg", lambda count: 1 - count.most),
        wor=printed("Wor", lambda count: float(count.wrong == 0)),
        fresh=tuple(_fresh(result, attack, estimate)),
    )


def _fresh(result: DefenseResult, attack: AttackResult, estimate: Callable[[Floats], Estimate]) -> list[PrintedFigure]:
    """Return the figures of the verification draws, at the attack's final point and at the clean image.

    A vote is right if more than half of its draws are. A tie is wrong: DiffBreak decides it by the order of the
    classes, which the results do not have.
    """
    draws = result.draws
    odd = draws if draws % 2 else draws - 1
    figures: dict[str, Callable[[npt.NDArray[np.bool_]], Floats]] = {"Avg (fresh)": lambda right: right.mean(axis=1)}
    if draws >= WORST_OF:
        figures[f"Wor.{WORST_OF} (fresh)"] = lambda right: resubmission_per_image(right[np.newaxis], WORST_OF)
    for voters in [one for one in VOTERS if one <= draws] or [odd]:
        figures[f"MV.{voters} (fresh)"] = partial(_majority, voters=voters)
    found = next((other for other in result.attacks if other.name == CLEAN), None)
    rows = np.array([outcome in ANSWERED for outcome in attack.outcomes])
    if found is not None:  # both figures are of the same images
        rows &= np.array([outcome in ANSWERED for outcome in found.outcomes])
    attacked = result.right(attack)[rows]
    clean = None if found is None else result.right(found)[rows]
    return [
        PrintedFigure(name, estimate(of(attacked)), None if clean is None or not len(clean) else estimate(of(clean)))
        for name, of in figures.items()
        if len(attacked)
    ]


def _majority(right: npt.NDArray[np.bool_], voters: int) -> Floats:
    """Return the probability of each image that more than half of `voters` draws are right, over all such subsets."""
    return majority_of_share(right.sum(axis=1), right.shape[1], voters)


def _estimator(result: DefenseResult) -> Callable[[Floats], Estimate]:
    method, confidence = interval_method(False, result.anytime), float(result.board["confidence"])
    return lambda values: interval(values, method, confidence)
