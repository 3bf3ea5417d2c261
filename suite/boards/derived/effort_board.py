"""The board of the ladder: attacks of rising effort on all rows of a board, and attacks of other mechanisms.

Its records are in the same store as those of the board it is derived from, under another board name.
"""

from __future__ import annotations

from dataclasses import replace

from purebench.boards.board import SOURCE, AttackChoice, Board, DefenseChoice, Source
from purebench.boards.derived.controls_board import companion_name
from purebench.boards.derived.growing_effort import factors, reached_level
from purebench.boards.effort_settings import EffortRung
from purebench.core.registry import Spec

EFFORT = "effort"
"""Kind of the derived board, and end of its name before the radius."""
NOISE, SQUARE, SURROGATE, TRANSFER = "random-noise", "square", "surrogate", "transfer"
MARGIN = "margin"
"""The attack on the undefended classifier whose adversarial images are transferred."""
VIEW = "exact-or-bpda"
LOSS = "cw"
"""The loss of the rungs: the margin of the logits, whose gradient does not vanish where the softmax saturates."""
UNDEFENDED = ("undefended", "no-defense", "classifier-alone")
"""Names for the board's classifier alone; the first one that no row has is used."""


def effort_board(board: Board) -> Board:
    """Return the board of the ladder: random noise, APGD of rising effort, and attacks of other mechanisms.

    APGD follows the exact gradient, or that of BPDA where the purifier has no gradient. The attacks of other
    mechanisms are Square, APGD through a cheaper purifier, and the transfer of images found on the classifier alone;
    those that do not apply to a defense are SKIPPED there. If `effort: auto` has doubled the effort of the board's
    attacks, every rung has as many times its effort, so that the ladder ends where the attacks do.

    Args:
        board: The board, which has settings of the ladder, with the attacks that `effort: auto` added.

    Returns:
        A board with the same rows, on the first images of the board.
    """
    settings = board.effort
    assert settings is not None
    block = board.dataset.block
    images = min(board.images_of(board.most_blocks), -(-settings.images // block) * block)
    rungs = [_doubled(rung, reached_level(board)) for rung in settings.rungs]
    last = rungs[-1]
    taken = {row.name for row in board.defenses}
    alone = DefenseChoice(next(name for name in UNDEFENDED if name not in taken), Spec("none"), only_source=True)
    return replace(
        board,
        name=companion_name(board.name, EFFORT),
        title=f"{board.title}, rising effort",
        about="",
        dataset=replace(board.dataset, images=images),
        attacks=(
            AttackChoice(NOISE, Spec("random-noise")),
            *(_rung(number, rung) for number, rung in enumerate(rungs, 1)),
            AttackChoice(SQUARE, Spec("square", {"queries": settings.queries}), eot=last.eot),
            AttackChoice(SURROGATE, _apgd(last), "surrogate", last.eot),
            AttackChoice(MARGIN, _to_the_end(last), "exact", only=SOURCE),
            AttackChoice(TRANSFER, Spec("transfer"), source=Source(alone.name, MARGIN)),
        ),
        defenses=(*(replace(row, only_source=False) for row in board.shown), alone),
        cascade=False,
        stop=None,
        effort=None,
        controls=(),
    )


def _doubled(rung: EffortRung, level: int) -> EffortRung:
    longer, more = factors(level)
    return EffortRung(steps=longer * rung.steps, eot=rung.eot, restarts=more * rung.restarts)


def rung_name(number: int) -> str:
    """Return the name of a rung's attack on the board of the ladder; the rungs are numbered from 1."""
    return f"rung-{number}"


def _rung(number: int, rung: EffortRung) -> AttackChoice:
    return AttackChoice(rung_name(number), _apgd(rung), VIEW, rung.eot)


def _to_the_end(rung: EffortRung) -> Spec:
    """Return APGD that goes on after its first success, so that its images transfer to other models."""
    return Spec("apgd", {"steps": rung.steps, "loss": LOSS, "stop": False})


def _apgd(rung: EffortRung) -> Spec:
    restarts = {"restarts": rung.restarts} if rung.restarts > 1 else {}
    return Spec("apgd", {"steps": rung.steps, "loss": LOSS, **restarts})
