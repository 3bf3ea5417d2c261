"""Determines the properties of a defense that decide which attacks apply to it, with one pass."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from purebench.attacks.entry import native
from purebench.attacks.views.stand_in import inner_modules
from purebench.boards.board import Board, DefenseChoice
from purebench.core import registry
from purebench.core.defense import Purifier
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.execution.context import Context

MOST_INNER = 4
"""Largest number of parts of a defense that are attacked in its place."""
MOST_STAND_INS = 5
"""Largest number of other models that are attacked in its place."""
PROBED, LEAST_RIGHT = 20, 0.5
"""Dev images on which other classifiers are tried, and the share of them that a stand-in classifies correctly."""


@dataclass(frozen=True)
class DefenseProfile:
    """The properties of a defense that decide which attacks are tried.

    Attributes:
        random: Whether it is random.
        purifies: Whether it has a purifier.
        differentiable: Whether gradients come through its purifier.
        intermediate: Whether its purifier has a sequence of noise levels, which a shorter one can replace.
        inner: Paths of its parts that map images to logits, the innermost first.
        stand_ins: Views that attack another model in its place; the first is the classifier of the board.
        norm: The norm of the threat model.
    """

    random: bool
    purifies: bool
    differentiable: bool
    intermediate: bool
    inner: Sequence[str]
    stand_ins: Sequence[str]
    norm: str

    def supports(self, attack: str) -> bool:
        """Return whether an attack of this package can be run in the norm."""
        return self.norm in native()[attack].norms

    @property
    def views(self) -> tuple[str, ...]:
        """The views with a gradient that may apply."""
        own = ["exact"] if self.differentiable else []
        own += ["bpda", "blind"] if self.purifies else []
        own += ["smoothed(samples=4)"] if self.differentiable else ["smoothed(samples=4, through=bpda)"]
        own += ["bpda-learned"] if self.purifies else []
        own += ["surrogate", "noised", "intermediate"] if self.intermediate else []
        return (*own, *(f"inner(module={path})" for path in self.inner), *self.stand_ins)


def profile_of(context: Context, row: DefenseChoice, board: Board) -> DefenseProfile:
    """Determine the properties of a defense with one pass over two images.

    Args:
        context: The prepared dev board.
        row: The defense.
        board: The board, whose rows are stand-ins.
    """
    defense = context.pristine(row.name)
    purifier = defense.purifier
    images = torch.as_tensor(context.images.take(range(min(2, len(context.images)))).floats()).to(context.device)
    paths: Sequence[str] = ()
    # a defense that raises is refused with its error by the first job of the search
    with suppress(Exception), seeded("break", "look", device=context.device):
        paths = inner_modules(defense, images)
    direct = "classifier" if purifier is None else ""
    inner = [path for path in reversed(paths) if path != direct and not (purifier and path == "classifier")]
    return DefenseProfile(
        random=defense.random,
        purifies=purifier is not None,
        differentiable=purifier is None or purifier.differentiable,
        intermediate=purifier is not None and _shortens(context, row),
        inner=inner[:MOST_INNER],
        stand_ins=_stand_ins(context, board),
        norm=board.threat.norm,
    )


def _shortens(context: Context, row: DefenseChoice) -> bool:
    """Return whether the purifier has a version with fewer steps."""
    try:
        registry.create("views", Spec("surrogate"), defense=context.pristine(row.name), eot=1)
    except Exception:  # it says so by an exception of any kind
        return False
    return True


def _stand_ins(context: Context, board: Board) -> list[str]:
    """Return views that attack other models: the board's classifier, other registered ones, and differentiable rows.

    A registered classifier counts if it is right on at least LEAST_RIGHT of some images.
    """
    images = context.images.take(range(min(PROBED, len(context.images))))
    x, y = torch.as_tensor(images.floats()).to(context.device), torch.as_tensor(images.labels).to(context.device)
    views = [Spec("stand-in", {"classifier": board.classifier.plain()})]
    for name in registry.names("classifiers"):
        with suppress(Exception), torch.no_grad(), seeded("break", "stand-in", device=context.device):
            made = registry.create("classifiers", Spec(name)).eval().to(context.device)
            if float((made(x).argmax(1) == y).float().mean()) >= LEAST_RIGHT:
                views.append(Spec("stand-in", {"classifier": name}))
    classifier = registry.create("classifiers", board.classifier)
    for row in board.defenses:
        with suppress(Exception):
            made = registry.create("defenses", row.use, classifier=classifier)
            if row.use != context.board.defenses[0].use and isinstance(made, Purifier) and _cheap(made):
                views.append(Spec("stand-in", {"model": row.use.plain(), "classifier": board.classifier.plain()}))
    return list(dict.fromkeys(map(str, views)))[:MOST_STAND_INS]


def _cheap(purifier: Purifier) -> bool:
    return purifier.differentiable and not purifier.random
