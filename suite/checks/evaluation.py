"""Runs all checks of a defense, on as many images as they need, to decide whether its evaluation can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from purebench.boards.board import Board, DefenseChoice
from purebench.checks import attack_strength, defense_checks
from purebench.checks.attack_variants import Effort, everything, far_radius, for_radius, for_steps, for_strength
from purebench.checks.finding import CheckResult, CheckStatus, Suspicion, judged, verdict
from purebench.core.compute.batching import DeviceBatch
from purebench.execution.context import Context
from purebench.execution.incremental import Limits, Runner, largest, steps
from purebench.results.results import DefenseResult

ANSWERS = "valid logits"
NEARER = 0.5
"""The share of the board's radius at which the robust accuracy is compared with that at the radius."""


@dataclass(frozen=True)
class Trust:
    """The findings of all checks.

    Attributes:
        findings: one finding per check.
        seen: the context and the result of the attacks at the board's radius, on all images that were used.
    """

    findings: Sequence[CheckResult]
    seen: tuple[Context, DefenseResult]

    @property
    def images(self) -> int:
        """The number of images that were used."""
        return len(self.seen[1].images)

    @property
    def result(self) -> CheckStatus:
        """HOLDS if every check that applies holds, FAILS if one fails, else UNDECIDED."""
        return verdict(self.findings)


def honest(
    board: Board,
    row: DefenseChoice,
    run: Runner,
    *,
    effort: Effort | None = None,
    confidence: float = 0.95,
    limits: Limits | None = None,
) -> Trust:
    """Check a defense on more and more blocks of images until the checks are decided.

    The checks end when every one holds, when one fails, when a limit is reached, when the board has no more images, and
    when an attack errors. A defense that returns no valid answers fails the first check, and no other check is made.

    Args:
        board: the board that the checks are derived from.
        row: the defense.
        run: runs the boards (store, device and workers).
        effort: the effort and sensitivity of the checks; None for the default.
        confidence: in (0,1). A sound defense FAILS, and one that violates a check by at least `effort.tolerance` HOLDS,
            each with a probability of at most (1 - confidence) / 2.
        limits: when to stop undecided; None for no limits.

    Returns:
        The results of all checks, and the results of the attacks that they used.

    Raises:
        PurebenchError: invalid input.
    """
    effort, limits = effort or Effort(), limits or Limits()
    slopes, seeds, done = defense_checks.NOTHING_YET, None, 0
    run.prepare(for_strength(largest(board, limits), row, effort))
    for part in steps(board, limits):
        context, attacked = run.result(for_strength(part, row, effort))
        images = len(attacked.images)
        reasons = [f"{attack.name}: {reason}" for attack in attacked.attacks for reason in attack.reasons]
        if attacked.failed:
            return Trust(
                [CheckResult(ANSWERS, CheckStatus.FAILS, f"the defense could not be evaluated: {reasons[0]}")],
                (context, attacked),
            )
        told = f"some attacks failed: {reasons[0]}" if reasons else f"no attack failed on {images} images"
        first = CheckResult(ANSWERS, CheckStatus.UNDECIDED if reasons else CheckStatus.HOLDS, told)
        new, seeds = _asked(context, row, done, seeds)
        slopes, done = slopes + new, images
        suspicions = [
            seeds,
            *defense_checks.gradients(context.defenses[row.name], slopes, effort.tolerance),
            attack_strength.more_draws(attacked, effort.tolerance),
            attack_strength.beats_blind(
                attacked, effort.tolerance, purifies=context.defenses[row.name].purifier is not None
            ),
            attack_strength.beats_black_box(attacked, effort.tolerance),
            *_elsewhere(part, row, run, effort, attacked, context),
            attack_strength.more_steps(attacked, _longer(part, row, run, effort, attacked), effort.tolerance),
        ]
        trust = Trust([first, *judged(suspicions, (1 - confidence) / 2)], (context, attacked))
        if trust.result is not CheckStatus.UNDECIDED or reasons:
            break
    return trust


def _asked(
    context: Context, row: DefenseChoice, done: int, seeds: Suspicion | None
) -> tuple[defense_checks.Slopes, Suspicion]:
    """Check the defense itself on the images after the first `done`; the seeds are checked again unless they failed."""
    defense = context.pristine(row.name)  # a copy, because later steps use the defense again
    x = torch.as_tensor(context.images.floats()[done:]).to(context.device)
    y = torch.as_tensor(context.images.labels[done:]).to(context.device)
    batch = DeviceBatch(context.device_batch(row.name))
    if seeds is None or seeds.wrong == 1:
        seeds = defense_checks.seeds(defense, x, batch)
    return defense_checks.slopes(defense, x, y, batch), seeds


def _elsewhere(
    board: Board, row: DefenseChoice, run: Runner, effort: Effort, found: DefenseResult, context: Context
) -> list[Suspicion]:
    """Run the checks that need other radii."""
    shape = tuple(context.images.floats().shape[1:])
    most = everything(board.threat.norm, shape)
    _, unbounded = run.result(for_radius(board, row, effort, most))
    here, far = board.threat.radius, far_radius(board.threat.radius, most)
    radii = [NEARER * here, far] if here < far else [NEARER * here]
    others = {radius: run.result(for_radius(board, row, effort, radius))[1] for radius in radii}
    return [
        attack_strength.does_not_rise({**others, here: found}, effort.tolerance),
        attack_strength.falls_with_radius(found, others.get(far, unbounded), effort.tolerance),
        attack_strength.reaches_zero(unbounded, effort.tolerance),
    ]


def _longer(board: Board, row: DefenseChoice, run: Runner, effort: Effort, found: DefenseResult) -> DefenseResult:
    """Run the strongest of the white-box attacks with more steps."""
    return run.result(for_steps(board, row, effort, attack_strength.stronger_view(found)))[1]
