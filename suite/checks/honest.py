"""All checks of a defense: can the evaluation of it be trusted?"""

from __future__ import annotations

import torch

from purebench.batching import DeviceBatch
from purebench.board import Board, DefenseChoice
from purebench.checks import direct, strength
from purebench.checks.attacks import Effort, everything, for_radius, for_strength
from purebench.checks.finding import Finding, Result, Suspicion, judged
from purebench.context import Context
from purebench.growing import Run, found_by
from purebench.leaderboards.results import DefenseResult

ANSWERS = "it answers"
RADII = (0.5, 2.0)
"""Multiples of the board's radius, beside the radius itself, at which robustness is compared."""


def honest(
    board: Board, row: DefenseChoice, run: Run, *, effort: Effort | None = None, level: float = 0.05
) -> list[Finding]:
    """What every check says of a defense of a board.

    level: the chance that any check fails for a defense whose evaluation is sound, in (0,1). A defense that fails to
    answer fails the first check, and no other is made. Raises PurebenchError for bad input.
    """
    effort = effort or Effort()
    context, found = found_by(run, for_strength(board, row, effort))
    reasons = [f"{attack.name}: {reason}" for attack in found.attacks for reason in attack.reasons]
    if found.failed:
        return [Finding(ANSWERS, Result.FAILS, f"nothing is known of it; {reasons[0]}")]
    told = f"some attacks failed, {reasons[0]}" if reasons else f"no attack failed on {len(found.images)} images"
    suspicions = [
        *_asked(context, row),
        strength.more_draws(found),
        strength.beats_blind(found, purifies=context.defenses[row.name].purifier is not None),
        strength.beats_black_box(found),
        *_elsewhere(board, row, run, effort, found, context),
    ]
    first = Finding(ANSWERS, Result.UNDECIDED if reasons else Result.HOLDS, told)
    return [first, *judged(suspicions, level)]


def _asked(context: Context, row: DefenseChoice) -> list[Suspicion]:
    """The checks that ask the defense itself, on the board's first images."""
    defense = context.defenses[row.name]
    x = torch.as_tensor(context.images.floats()).to(context.device)
    y = torch.as_tensor(context.images.labels).to(context.device)
    batch = DeviceBatch(context.device_batch(row.name))
    return [direct.seeds(defense, x, batch), *direct.gradients(defense, x, y, batch)]


def _elsewhere(
    board: Board, row: DefenseChoice, run: Run, effort: Effort, found: DefenseResult, context: Context
) -> list[Suspicion]:
    """The checks that need other radii."""
    shape = tuple(context.images.floats().shape[1:])
    most = everything(board.threat.norm, shape)
    _, unbounded = found_by(run, for_radius(board, row, effort, most))
    radii = [board.threat.radius * factor for factor in RADII if board.threat.radius * factor < most]
    others = {radius: found_by(run, for_radius(board, row, effort, radius))[1] for radius in radii}
    return [
        strength.falls_with_radius({**others, board.threat.radius: found}),
        strength.reaches_zero(unbounded),
    ]
