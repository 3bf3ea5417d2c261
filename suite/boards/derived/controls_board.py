"""The boards of the controls: the control rows under the board's own attacks, and their references under strong ones.

Their records are in the same store as those of the board that they are derived from, under other board names, and no
key of the board's own jobs depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from purebench.boards.board import AttackChoice, Board, DefenseChoice
from purebench.boards.selection import label
from purebench.core.registry import Spec

CONTROLS, REFERENCES = "controls", "references"
"""Kinds of boards that are derived from a board; the kind is the end of the name."""
TRUTH = "known-truth"
"""The registered attack that asks a control for its truth."""
STRONG = (
    AttackChoice("clean", Spec("clean")),
    AttackChoice("apgd-t", Spec("apgd-t", {"steps": 50}), "exact", only="deterministic"),
    AttackChoice("apgd", Spec("apgd", {"steps": 50}), "exact", 16, "random"),
    AttackChoice("apgd-cw", Spec("apgd", {"steps": 50, "loss": "cw"}), "exact", 16, "random"),
)
AUTOATTACK = AttackChoice("autoattack", Spec("autoattack:standard"), "exact", only="deterministic")
"""The attacks that bound the accuracy of the references: targeted APGD, which is the strongest part of AutoAttack on
such models, and all of AutoAttack if the board has time for it, that is if it is one of its own attacks."""


def companion_name(name: str, kind: str) -> str:
    """Return the name of a board that is derived from another one.

    Args:
        name: the name of the board, with its radius if it has one of its own: "mine@8-255".
        kind: the kind of the derived board.

    >>> companion_name("mine@8-255", "controls")
    'mine-controls@8-255'
    """
    own, at, radius = name.partition("@")
    return f"{own}-{kind}{at}{radius}"


def controls_board(board: Board) -> Board | None:
    """Return the board of a board's controls: the same images, attacks, draws and seed; None without controls.

    The rows whose adversarial images an attack reuses are sources of it. Each image gets every attack, also on a board
    with a cascade, and no rule stops it, so that the attacks can be compared.

    Args:
        board: the board.
    """
    if not board.controls:
        return None
    reused = {attack.source.defense for attack in board.attacks if attack.source is not None}
    sources = [replace(row, only_source=True) for row in board.defenses if row.name in reused]
    names = {attack.name for attack in board.attacks}
    truth = next(name for name in ("truth", TRUTH, f"{TRUTH}-of-the-control") if name not in names)
    return _derived(
        board,
        CONTROLS,
        attacks=(*board.attacks, AttackChoice(truth, Spec(TRUTH))),
        defenses=(*board.controls, *sources),
    )


def references_board(board: Board, references: Sequence[str]) -> Board | None:
    """Return the board of the references of a board's controls under strong attacks; None without references.

    Args:
        board: the board.
        references: their specs.
    """
    if not references:
        return None
    long = any(attack.use.name.startswith("autoattack:") for attack in board.attacks)
    rows = tuple(DefenseChoice(label(text), Spec.parse(text)) for text in dict.fromkeys(references))
    return _derived(board, REFERENCES, attacks=(*STRONG, AUTOATTACK) if long else STRONG, defenses=rows)


def _derived(board: Board, kind: str, attacks: tuple[AttackChoice, ...], defenses: tuple[DefenseChoice, ...]) -> Board:
    return replace(
        board,
        name=companion_name(board.name, kind),
        title=f"{board.title}, {kind}",
        about="",
        dataset=replace(board.dataset, images=board.images_of(board.most_blocks)),
        attacks=attacks,
        defenses=defenses,
        controls=(),
        cascade=False,
        stop=None,
    )
