"""Runs a sweep: all strengths at the board's radius, then the chosen ones at the other radii."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from purebench.boards.board import Board
from purebench.boards.selection import row
from purebench.checks.sweeps.choice import choose
from purebench.checks.sweeps.definition import Sweep
from purebench.checks.sweeps.grid import Family, Strength
from purebench.checks.sweeps.outcome import Contrast, FamilyOutcome, Point, RadiusPoint, SweepOutcome
from purebench.checks.sweeps.radii import check_radii
from purebench.checks.sweeps.sweep_board import radius_board, sweep_board, undefended
from purebench.core.errors import PurebenchError
from purebench.core.threat import parse_radius
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import JobProgress, run_prepared, tell_preparation
from purebench.execution.context import Context, prepare
from purebench.results.attack_result import CLEAN
from purebench.results.merge import header_of, merge
from purebench.results.ranking.comparisons import Side, comparisons
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult
from purebench.results.scores import per_image
from purebench.statistics import paired_difference

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """The settings under which the jobs of a sweep run, as for `run_board`.

    Attributes:
        path: The store.
        compute: Where the jobs run.
        wait: Seconds to wait for another process that writes to the store.
        retry_errors: Whether to run ERRORED jobs again.
        progress: Called at the start and after each job.
        tell: Called with one line for each warning.
    """

    path: Path
    compute: Compute = field(default_factory=Compute)
    wait: float = 0.0
    retry_errors: bool = False
    progress: JobProgress = lambda done, total, record: None
    tell: Callable[[str], None] = lambda line: None

    def results(self, context: Context) -> dict[str, DefenseResult]:
        """Run the missing jobs of a prepared board, and return the result of each row by its name."""
        records = run_prepared(
            context.board,
            context,
            self.path,
            compute=self.compute,
            dev=True,
            wait=self.wait,
            retry_errors=self.retry_errors,
            progress=self.progress,
            tell=self.tell,
        )
        return {one.name: one for one in merge(context.board, records)}


def run_sweep(board: Board, sweep: Sweep, run: SweepRun, command: str = "") -> SweepOutcome:
    """Evaluate all strengths on dev images, choose one of each family, and evaluate it at the other radii.

    All records are in the store, so that an interrupted sweep is continued by the same call.

    Args:
        board: The board that the sweep names.
        sweep: The sweep.
        run: Where the jobs run.
        command: The command line, for sweep.json.

    Raises:
        PurebenchError: For invalid input, before anything is run, and if the classifier alone cannot be evaluated.
    """
    run.compute.check()
    swept = sweep_board(board, sweep)
    further = [radius_board(swept, [], radius).threat for radius in sweep.radii]
    context = prepare(swept, run.compute.main_device())
    for threat in further:
        threat.check_shape(context.images.images.shape[1:])
    tell_preparation(context, run.tell)
    found = run.results(context)
    plain = found[undefended(board).name]
    base = clean_scores(plain)
    if plain.clean is None or base is None:
        raise PurebenchError(
            "sweep: expected the clean accuracy of the classifier alone, from which the clean loss is computed, but "
            "its images errored; run it again with --retry-errors."
        )
    families = [_family(one, board, found, base, sweep.largest_clean_loss) for one in sweep.families]
    curves = _curves(families, context, found, sweep, run)
    return SweepOutcome(
        board=board.name,
        settings=header_of(swept),
        norm=board.threat.norm,
        radius_text=board.radius_text or f"{board.threat.radius:g}",
        images=plain.images,
        labels=plain.labels,
        largest_clean_loss=sweep.largest_clean_loss,
        undefended=plain.clean,
        families=tuple(_with_curve(one, curves, context) for one in families),
        command=command,
        provenance={**plain.provenance, "defenses": {name: _code(one) for name, one in found.items()}},
    )


def _family(
    family: Family, board: Board, found: Mapping[str, DefenseResult], base: Floats, largest: float
) -> FamilyOutcome:
    """Return the strengths of a family, and the choice; `base` has the clean scores of the undefended classifier."""
    rows = [row(board, strength.text) for strength in family.strengths]
    points = tuple(
        _point(strength, found[one.name], base, on_board=one in board.defenses)
        for strength, one in zip(family.strengths, rows, strict=True)
        if one.name in found
    )
    labels = (strength.label for strength, one in zip(family.strengths, rows, strict=True) if one.name not in found)
    missing = tuple(labels)  # rows without their files are not run
    choice = choose(points, largest)
    contrasts: tuple[Contrast, ...] = ()
    if choice is not None:
        contrasts = _contrasts(points[choice.place], points, found)
    return FamilyOutcome(family.name, family.text, points, choice, contrasts, missing)


def _point(strength: Strength, found: DefenseResult, base: Floats, *, on_board: bool) -> Point:
    scores = clean_scores(found)
    clean = None if scores is None else found.clean
    robust = found.robust if found.attacked else None
    (shown,) = rank([found])
    return Point(
        label=strength.label,
        values=strength.values,
        row=found.name,
        spec=strength.text,
        on_board=on_board,
        random=found.random,
        weights=found.weights,
        clean=clean,
        robust=robust,
        clean_loss=None if scores is None else paired_difference(base, scores, found.board["confidence"]),
        errored=found.errored,
        strongest=shown.strongest,
        clean_scores=() if scores is None else tuple(scores.tolist()),
        robust_scores=() if robust is None else tuple(per_image(found).tolist()),
        seconds=sum(sum(phases.values()) for phases in found.seconds.values()),
        warnings=shown.warnings,
    )


def clean_scores(found: DefenseResult) -> Floats | None:
    """Return the share of right draws of each clean image, [n] in [0,1]; None if one of them was not evaluated."""
    clean = next(attack for attack in found.attacks if attack.name == CLEAN)
    if not clean.draws or not all(clean.draws):
        return None
    scores: Floats = found.right(clean).mean(axis=1)
    return scores


def _code(found: DefenseResult) -> str:
    """Return the hash of the code of a row; the code of the attacks is that of the undefended classifier's."""
    return str(found.provenance.get("code", {}).get("defense", ""))


def _contrasts(chosen: Point, points: Sequence[Point], found: Mapping[str, DefenseResult]) -> tuple[Contrast, ...]:
    """Compare the other measured strengths of a family with the chosen one, on the same images."""
    others = [one for one in points if one is not chosen and one.robust is not None]
    sides = [(Side(one.label, found[one.row]), Side(chosen.label, found[chosen.row])) for one in others]
    return tuple(Contrast(pair.a, pair.found.difference, pair.adjusted, pair.apart) for pair in comparisons(sides))


def _curves(
    families: Sequence[FamilyOutcome],
    context: Context,
    found: Mapping[str, DefenseResult],
    sweep: Sweep,
    run: SweepRun,
) -> dict[str, dict[str, DefenseResult]]:
    """Return the result of each chosen row by the radius as it is written; empty if the radius is not swept."""
    board = context.board
    names = list(dict.fromkeys(one.chosen.row for one in families if one.chosen is not None))
    if not sweep.radii or not names:
        return {}
    own = board.radius_text or f"{board.threat.radius:g}"
    curves = {own: {name: found[name] for name in names}}
    for radius in sweep.radii:
        if parse_radius(radius) != board.threat.radius:
            curves[radius] = run.results(context.on(radius_board(board, names, radius)))
    return dict(sorted(curves.items(), key=lambda one: parse_radius(one[0])))


def _with_curve(
    family: FamilyOutcome, curves: Mapping[str, Mapping[str, DefenseResult]], context: Context
) -> FamilyOutcome:
    if not curves or family.chosen is None:
        return family
    points = []
    for written, found in curves.items():
        one = found[family.chosen.row]
        robust = one.robust if one.attacked else None
        scores = () if robust is None else tuple(per_image(one).tolist())
        points.append(RadiusPoint(written, parse_radius(written), robust, scores))
    known = {one.radius: np.asarray(one.robust_scores) for one in points if one.robust is not None}
    texts = {one.radius: one.written for one in points}
    checks = check_radii(known, texts, context.board.threat.norm, context.images, context.board.confidence)
    return replace(family, radii=tuple(points), checks=tuple(checks))
