"""Builds the failure report of a robustness assertion: estimates, the strongest attack, its images, and a command.

The command repeats the evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.replay import command
from purebench.checks.attack_variants import Effort
from purebench.checks.finding import CheckResult
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import ResultWarning
from purebench.data.pictures import PictureTable, to_bytes
from purebench.execution.context import Context
from purebench.execution.incremental import Runner
from purebench.records import store
from purebench.records.outcome import Outcome
from purebench.results.grading.criteria.letters import Grade
from purebench.results.ranking.rank import Row, rank
from purebench.results.results import CLEAN, DefenseResult
from purebench.statistics import Estimate
from purebench.testing.decision import Decision
from purebench.testing.settings import Settings

SHOWN = 8
"""Number of images in a picture."""


@dataclass(frozen=True)
class Evidence:
    """A defense of a claim, and its results so far.

    Attributes:
        row: The defense as a row of a board.
        asked: The name by which the defense was given, empty for an object.
        board: The name by which its board was given.
        run: The run that produced its results.
        seen: The board as it was run and the results, None before anything was run.
    """

    row: DefenseChoice
    asked: str
    board: str
    run: Runner
    seen: tuple[Context, DefenseResult] | None = None

    def with_results(self, context: Context, found: DefenseResult) -> Evidence:
        """Return the same defense with newer results.

        Args:
            context: The board as it was run.
            found: The results.

        Returns:
            A new `Evidence`.
        """
        return replace(self, seen=(context, found))

    @property
    def context(self) -> Context:
        """The board as it was run.

        Raises:
            PurebenchError: If nothing was run yet.
        """
        return self._seen[0]

    @property
    def found(self) -> DefenseResult:
        """The results.

        Raises:
            PurebenchError: If nothing was run yet.
        """
        return self._seen[1]

    @property
    def _seen(self) -> tuple[Context, DefenseResult]:
        if self.seen is None:
            raise PurebenchError(f"{self.row.name}: nothing was run yet.")
        return self.seen

    @cached_property
    def ranked(self) -> Row:
        """The results as a row of the ranked table."""
        return rank([self.found], origin=self.board)[0]

    @property
    def strongest(self) -> str | None:
        """The attack with the lowest accuracy, if any."""
        return self.ranked.strongest

    @property
    def warnings(self) -> tuple[ResultWarning, ...]:
        """The reasons why the accuracy may be too high."""
        return self.ranked.warnings

    @property
    def grade(self) -> Grade:
        """The grade of the evaluation."""
        found = self.ranked.grade
        assert found is not None  # `rank` grades every row
        return found

    @property
    def command(self) -> str:
        """The command line that repeats the evaluation; for an object, a call in Python."""
        images = len(self.found.images)
        if not self.asked:
            return f"purebench.evaluate(defense, board={self.board!r}, images={images}) with the object itself"
        return command(
            "run",
            self.board,
            defense=[self.asked],
            images=images,
            store=near(self.run.store),
            device=None if self.run.device == "cpu" else self.run.device,
            retry_errors=self.ranked.errored > 0,
        )


def near(path: str | Path) -> str:
    """Return a path relative to the current folder if it lies below it, else the path itself."""
    here = Path.cwd()
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)


def explain(
    sides: Sequence[Evidence], estimate: Estimate | None, folder: Path, *, of: str = "", again: str = ""
) -> list[str]:
    """Write the adversarial images of a claim's defenses into a folder, and return the lines of its message.

    Args:
        sides: The defenses of the claim.
        estimate: The estimate that decided the claim, None if there is none.
        folder: Folder for the images.
        of: Name of the estimated quantity, where the claim's own line does not say it.
        again: Command line that repeats the claim; if empty, each defense's own command.

    Returns:
        The lines.
    """
    lines = []
    if estimate is not None:
        sure = f"{100 * estimate.confidence:g} %, at any time"
        lines.append(f"  estimate   {of}{estimate.percent()} ({sure}, {estimate.n} images, {estimate.method})")
    for side in sides:
        lines += _of(side, folder, f"{side.row.name}: " if len(sides) > 1 else "", again or side.command)
    return lines


def errored_lines(sides: Sequence[Evidence], decision: Decision) -> list[str]:
    """Return the line about images whose score is unknown; none if all scores are known.

    Args:
        sides: The defenses of the claim.
        decision: Its decision, whose estimate counts these images as wrong for the first defense.
    """
    if decision.otherwise is None:
        return []
    count = sum(side.found.errored for side in sides)
    how = "as wrong" if len(sides) == 1 else "as wrong for the first defense and as right for the second"
    told = f"the score of {count} images is unknown: the estimate counts them {how}"
    return [f"  errored    {told}; the other way round it is {decision.otherwise.percent()}"]


def _of(side: Evidence, folder: Path, name: str, again: str) -> list[str]:
    row, lines = side.ranked, []
    cell = next((cell for cell in row.cells if cell.attack == row.strongest), None)
    if cell is not None and cell.estimate is not None:
        lines.append(f"  strongest  {name}{cell.attack} leaves {cell.estimate.percent()}")
    lines += [f"  failed     {name}{error}" for error in row.errors]
    lines += [f"  warning    {name}{warning}" for warning in row.warnings]
    lines.append(f"  again      {name}{again}")
    if (kept := keep_images(side, folder / side.row.name)) is not None:
        lines.append(f"  images     {name}{near(kept)}")
    return lines


def keep_images(side: Evidence, folder: Path) -> Path | None:
    """Write the images of the strongest attack, or the clean ones if there is none.

    adversarial.npz holds images and adversarial (float32 [N,C,H,W] in [0,1]), labels, positions in the data set, and
    broken (whether an image is misclassified); adversarial.png shows the first misclassified ones above their
    originals.

    Args:
        side: The defense.
        folder: Folder for the two files, made if needed.

    Returns:
        The folder; None if the attack made no images.
    """
    attack = side.strongest or CLEAN
    keys = [job.key for job in side.context.jobs() if (job.defense.name, job.label) == (side.row.name, attack)]
    with store.reading(side.run.store) as saved:
        parts = [saved.adversarial(key) for key in keys]
    made = [part for part in parts if part is not None]
    if not made or len(made) < len(parts):
        return None
    adversarial, clean = np.concatenate(made), side.context.images.floats()
    outcomes = next(found.outcomes for found in side.found.attacks if found.name == attack)
    broken = np.array([outcome is Outcome.MISCLASSIFIED for outcome in outcomes])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "adversarial.npz",
        images=clean,
        adversarial=adversarial,
        labels=side.context.images.labels,
        positions=side.context.order,
        broken=broken,
    )
    shown = [int(place) for place in np.flatnonzero(broken)[:SHOWN]] or list(range(min(SHOWN, len(clean))))
    classes, labels = side.context.images.classes, side.context.images.labels
    cells = [[to_bytes(images[place]) for place in shown] for images in (adversarial, clean)]
    columns = [classes[int(labels[place])].replace(" ", "\n") for place in shown]
    PictureTable(cells, [attack, "image"], columns, side.row.name).draw().save(folder / "adversarial.png")
    return folder


def stopped(settings: Settings, board: Board, images: int) -> list[str]:
    """Explain why no more images were evaluated, and what may decide the claim.

    Args:
        settings: Of the claim.
        board: The board.
        images: Number of images that were evaluated.

    Returns:
        The lines of the message.
    """
    if images >= board.dataset.images:
        return ["  stopped    the board has no more images; a board with more images may decide"]
    if settings.max_images is not None and images >= settings.max_images:
        return [f"  stopped    at max_images = {settings.max_images}; more images may decide"]
    why = "an attack failed" if settings.budget is None else f"a budget of {settings.budget:g} minutes was spent"
    return [f"  stopped    {why}; more images may decide"]


def check_command(side: Evidence, effort: Effort, images: int) -> str:
    """Return the command line `purebench check` that repeats the checks.

    Args:
        side: The defense.
        effort: Effort of the checks.
        images: Number of images.

    Returns:
        The command line.
    """
    return command(
        "check",
        side.asked,
        board=side.board,
        store=near(side.run.store),
        max_images=images,
        **{name: value for name, value in vars(effort).items() if value != getattr(Effort(), name)},
        device=None if side.run.device == "cpu" else side.run.device,
    )


def table(findings: Sequence[CheckResult]) -> list[str]:
    """Return a line for each finding, in columns."""
    wide = max(len(finding.result) for finding in findings)
    return [f"  {finding.result:<{wide}}  {finding.name}: {finding.sentence}" for finding in findings]
