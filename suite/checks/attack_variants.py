"""The boards of the checks: one defense, a few attacks to compare, several radii.

Their records are in the same store as those of the board they are derived from, under a different board name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from purebench.boards.board import SOURCE, AttackChoice, Board, DefenseChoice, Source
from purebench.core.parameters import Count, Fraction, check_fields
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel, largest_radius

MANY, FEW = "many-draws", "one-draw"
BPDA, BLIND, BLACK, TRANSFER, MARGIN = "bpda", "blind", "black-box", "transfer", "margin"
WHITE = (MANY, BPDA)
"""The white-box attacks; a check uses the strongest of them."""
CHECKS = "-checks"
"""End of the name of a board that the checks make, before the radius."""
LONGER = 4
"""Factor of the number of steps in the check whether an attack has converged."""
UNDEFENDED = ("undefended", "no-defense")
"""Names for the board's classifier alone, whose adversarial images are transferred to the defense; the one that is not
the row's name is used."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The computational effort of the checks, and their sensitivity.

    Attributes:
        steps: the number of steps of APGD.
        eot: EOT samples of APGD and Square.
        queries: the number of queries of Square.
        tolerance: the smallest violation that the checks must detect, as a share of the images, in (0,1): the margin by
            which an attack leaves more images than one that should be weaker, or the share of images with a wrong
            gradient beyond what chance explains. Smaller values need more images: at least 30 for 0.2, 60 for 0.1.

    Raises:
        PurebenchError: a value is out of range.
    """

    steps: Count = 10
    eot: Count = 4
    queries: Count = 100
    tolerance: Fraction = 0.2

    def __post_init__(self) -> None:
        check_fields(self)


def for_strength(board: Board, row: DefenseChoice, effort: Effort) -> Board:
    """Return the board with all attacks at the board's radius.

    Args:
        board: the board to derive it from.
        row: the defense.
        effort: the effort of the checks.
    """
    apgd, square = Spec("apgd", {"steps": effort.steps}), Spec("square", {"queries": effort.queries})
    margin = Spec("apgd", {"steps": effort.steps, "loss": "cw", "stop": False})
    alone = DefenseChoice(next(name for name in UNDEFENDED if name != row.name), Spec("none"), only_source=True)
    return _board(
        board,
        row,
        AttackChoice("clean", Spec("clean")),
        AttackChoice(BLIND, apgd, "blind", effort.eot),
        AttackChoice(FEW, apgd, "exact", 1, "random"),
        AttackChoice(MANY, apgd, "exact", effort.eot),
        AttackChoice(BPDA, apgd, "bpda", effort.eot),
        AttackChoice(BLACK, square, "none", effort.eot),
        AttackChoice(MARGIN, margin, "exact", only=SOURCE),
        AttackChoice(TRANSFER, Spec("transfer"), source=Source(alone.name, MARGIN)),
        source=alone,
    )


def for_radius(board: Board, row: DefenseChoice, effort: Effort, radius: float) -> Board:
    """Return the board with the white-box attacks at another radius.

    Args:
        board: the board to derive it from.
        row: the defense.
        effort: the effort of the checks.
        radius: the radius, in the units of images in [0,1].
    """
    apgd = Spec("apgd", {"steps": effort.steps})
    white = [AttackChoice(MANY, apgd, "exact", effort.eot), AttackChoice(BPDA, apgd, "bpda", effort.eot)]
    threat = ThreatModel(board.threat.norm, radius)
    made = _board(replace(board, threat=threat, radius_text=""), row, *white)
    return replace(made, name=f"{made.name}@{radius:g}")


def for_steps(board: Board, row: DefenseChoice, effort: Effort, gradient: str) -> Board:
    """Return the board with a white-box attack of `LONGER` times the steps, at the board's radius.

    Args:
        board: the board to derive it from.
        row: the defense.
        effort: the effort of the checks.
        gradient: the view of the attack, `exact` or `bpda`.
    """
    apgd = Spec("apgd", {"steps": LONGER * effort.steps})
    made = _board(board, row, AttackChoice(MANY if gradient == "exact" else BPDA, apgd, gradient, effort.eot))
    return replace(made, name=f"{made.name}-steps")


def in_units(radius: float, like: str) -> str:
    """Return a radius as text in the units of another one.

    Args:
        radius: the radius, in the units of images in [0,1].
        like: a radius as a board writes it, such as "8/255".

    >>> in_units(0.25, "8/255"), in_units(0.25, "0.5")
    ('63.75/255', '0.25')
    """
    _, slash, parts = like.partition("/")
    try:
        return f"{radius * float(parts):.4g}/{parts.strip()}" if slash else f"{radius:.4g}"
    except ValueError:
        return f"{radius:.4g}"


def far_radius(radius: float, most: float) -> float:
    """Return a radius far from the board's but below the largest one: the geometric mean of both.

    Linf 8/255 gives 0.18, where adversarially trained classifiers have lost almost all accuracy.

    Args:
        radius: the board's radius.
        most: the radius within which any image is reachable from any other (1 in linf).
    """
    return math.sqrt(radius * most)


def everything(norm: str, shape: tuple[int, ...]) -> float:
    """Return the radius within which any image [C,H,W] in [0,1] can become any other."""
    return largest_radius(norm, shape)


def _board(board: Board, row: DefenseChoice, *attacks: AttackChoice, source: DefenseChoice | None = None) -> Board:
    return replace(
        board,
        name=f"{board.name.partition('@')[0]}{CHECKS}",
        title=f"{board.title}, checks",
        attacks=attacks,
        defenses=(row,) if source is None else (row, source),
        cascade=False,
        stop=None,
    )
