"""Reads the results of the ladder's board: the accuracy of each image on each rung, and under the other attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from purebench.attacks.mechanisms import Mechanism
from purebench.boards.derived.effort_board import NOISE, rung_name
from purebench.results.attack_result import AttackResult
from purebench.results.grading.attack_mechanisms import mechanisms_of
from purebench.results.results import ANSWERED, CLEAN, DefenseResult

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tried:
    """One attack on the images of the ladder.

    Attributes:
        name: its name on its board, with the board where that is not the row's own.
        attack: its result.
        right: whether each verification draw was correct, bool [images, draws].
        another: whether it has another mechanism than the rungs.
        elsewhere: whether it was made on other models only: on another row, or on a substitute for the defense.
        of_ladder: whether it is an attack of the ladder's board, which the row's robust accuracy does not include.
    """

    name: str
    attack: AttackResult
    right: Bools
    another: bool = False
    elsewhere: bool = False
    of_ladder: bool = False

    @property
    def values(self) -> Floats:
        """The share of correct draws of each image [images]."""
        return np.asarray(self.right.mean(axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Ladder:
    """The rungs of one defense, and the other attacks on the same images.

    Attributes:
        images: positions of the images in the dataset: those of the row on which every rung answered.
        rungs: random noise, then the rungs by rising effort.
        others: the other attacks that answered on all of these images.
        picked: the share of correct fresh draws of each image [images] at the picked adversarial example of the row,
            whose mean is its robust accuracy on these images; None if the score of an image is unknown.
    """

    images: tuple[int, ...]
    rungs: Sequence[Tried]
    others: Sequence[Tried]
    picked: Floats | None = None


def read_ladder(own: DefenseResult, ladder: DefenseResult) -> Ladder | None:
    """Return the rungs and the other attacks of a row.

    Args:
        own: the result of the row on its own board, whose attacks are compared with the last rung.
        ladder: the result of the row on the board of the ladder.

    Returns:
        The ladder; None if there is no image of the row on which every rung answered.
    """
    names = [NOISE, *(rung_name(number) for number in range(1, len(ladder.attacks) + 1))]
    found = {attack.name: attack for attack in ladder.attacks}
    rungs = [found[name] for name in names if name in found and not found[name].skipped]
    if not rungs or rungs[0].name != NOISE:
        return None
    used = np.logical_and.reduce([_answered(rung) for rung in rungs]) & np.isin(ladder.images, own.images)
    rows = np.flatnonzero(used)
    if not rows.size:
        return None
    images = tuple(ladder.images[row] for row in rows)
    others = [
        replace(_tried(f"{one.name} of the ladder", ladder, one, rows), of_ladder=True)
        for one in ladder.attacks
        if one.name not in names and _answered(one)[rows].all()
    ]
    place = {image: row for row, image in enumerate(own.images)}
    there = np.array([place[image] for image in images])
    others = [
        _tried(one.name, own, one, there)
        for one in own.attacks
        if one.name != CLEAN and not one.certified and _answered(one)[there].all()
    ] + others
    known = own.scored[there].all() and not own.doubtful[there].any()
    picked = own.scores()[there] if known else None
    return Ladder(images, [Tried(rung.name, rung, ladder.right(rung)[rows]) for rung in rungs], others, picked)


def rung_label(attack: AttackResult, random: bool) -> str:
    """Describe a rung: "APGD, 20 steps, 4 draws, 2 runs"."""
    if attack.name == NOISE:
        return "random noise"
    steps, runs = attack.spec["params"]["steps"], attack.spec["params"].get("restarts", 1)
    draws = f", {attack.eot} draws" if random and attack.eot > 1 else ""
    return f"APGD, {steps} steps{draws}{f', {runs} runs' if runs > 1 else ''}"


def _answered(attack: AttackResult) -> Bools:
    return np.array([outcome in ANSWERED for outcome in attack.outcomes], dtype=np.bool_)


def _tried(name: str, result: DefenseResult, attack: AttackResult, rows: Whole) -> Tried:
    """Return an attack on the images in these rows of its result.

    It has another mechanism than the rungs if it searches, and not by the gradient of the defense.
    """
    found = mechanisms_of(result, attack)
    elsewhere = bool(found) and set(found) <= {Mechanism.TRANSFER, Mechanism.SUBSTITUTE}
    another = bool(found) and Mechanism.GRADIENT not in found
    return Tried(name, attack, result.right(attack)[rows], another, elsewhere)
