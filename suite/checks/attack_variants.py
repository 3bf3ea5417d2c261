"""The boards that the checks run: one defense, a few attacks that should not beat each other, several radii.

Their records lie in the same store as those of the board they are made from, under a name of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from purebench.boards.board import SOURCE, AttackChoice, Board, DefenseChoice, Source
from purebench.core.errors import PurebenchError, require_fraction
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel, largest_radius

MANY, FEW = "many-draws", "one-draw"
BPDA, BLIND, BLACK, TRANSFER, MARGIN = "bpda", "blind", "black-box", "transfer", "margin"
WHITE = (MANY, BPDA)
"""The attacks with white-box knowledge that a check takes the best of."""
LONGER = 4
"""How many times the steps an attack takes to see whether it had converged."""
UNDEFENDED = ("undefended", "no-defense")
"""Names for the board's classifier alone, whose adversarial images are tried on the defense; one is not the row's."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How closely the checks look. steps: of APGD; draws: of its looks; queries: of Square.

    tolerance: what a check must not miss, as a share of the images, in (0,1): an attack that leaves so much more than
    one that should be weaker, or as many images with a false gradient beyond what chance allows. Smaller takes more
    images: at least 30 for 0.2, 60 for 0.1. Raises PurebenchError for values out of range.
    """

    steps: int = 10
    draws: int = 4
    queries: int = 100
    tolerance: float = 0.2

    def __post_init__(self) -> None:
        require_fraction("tolerance", self.tolerance, ends=False)
        for name in ("steps", "draws", "queries"):
            if not isinstance(value := getattr(self, name), int) or value < 1:
                raise PurebenchError(f"{name}: expected a whole number of at least 1, but got {value!r}.")


def for_strength(board: Board, row: DefenseChoice, effort: Effort) -> Board:
    """All attacks at the board's radius."""
    apgd, square = Spec("apgd", {"steps": effort.steps}), Spec("square", {"queries": effort.queries})
    margin = Spec("apgd", {"steps": effort.steps, "loss": "cw", "stop": False})
    alone = DefenseChoice(next(name for name in UNDEFENDED if name != row.name), Spec("none"), only_source=True)
    return _board(
        board,
        row,
        AttackChoice("clean", Spec("clean")),
        AttackChoice(BLIND, apgd, "blind", effort.draws),
        AttackChoice(FEW, apgd, "exact", 1, "random"),
        AttackChoice(MANY, apgd, "exact", effort.draws),
        AttackChoice(BPDA, apgd, "bpda", effort.draws),
        AttackChoice(BLACK, square, "none", effort.draws),
        AttackChoice(MARGIN, margin, "exact", only=SOURCE),
        AttackChoice(TRANSFER, Spec("transfer"), source=Source(alone.name, MARGIN)),
        source=alone,
    )


def for_radius(board: Board, row: DefenseChoice, effort: Effort, radius: float) -> Board:
    """The white-box attacks at another radius."""
    apgd = Spec("apgd", {"steps": effort.steps})
    white = [AttackChoice(MANY, apgd, "exact", effort.draws), AttackChoice(BPDA, apgd, "bpda", effort.draws)]
    threat = ThreatModel(board.threat.norm, radius)
    made = _board(replace(board, threat=threat, radius_text=""), row, *white)
    return replace(made, name=f"{made.name}@{radius:g}")


def for_steps(board: Board, row: DefenseChoice, effort: Effort, gradient: str) -> Board:
    """The white-box attack through a view (`exact` or `bpda`) at the board's radius, with `LONGER` times the steps."""
    apgd = Spec("apgd", {"steps": LONGER * effort.steps})
    made = _board(board, row, AttackChoice(MANY if gradient == "exact" else BPDA, apgd, gradient, effort.draws))
    return replace(made, name=f"{made.name}-steps")


def far_radius(radius: float, most: float) -> float:
    """A radius far from the board's, but not everything: the geometric mean of both.

    Linf 8/255 gives 0.18, at which adversarially trained classifiers have lost nearly all.
    """
    return math.sqrt(radius * most)


def everything(norm: str, shape: tuple[int, ...]) -> float:
    """The radius within which any image [C,H,W] in [0,1] can be made of any other."""
    return largest_radius(norm, shape)


def _board(board: Board, row: DefenseChoice, *attacks: AttackChoice, source: DefenseChoice | None = None) -> Board:
    return replace(
        board,
        name=f"{board.name.partition('@')[0]}-checks",
        title=f"{board.title}, checks",
        attacks=attacks,
        defenses=(row,) if source is None else (row, source),
        cascade=False,
        stop=None,
    )
