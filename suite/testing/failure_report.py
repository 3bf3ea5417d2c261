"""What stands behind a claim, for whom it surprises: numbers, the strongest attack, its images, how to see it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from purebench.boards.board import DefenseChoice
from purebench.boards.replay import command
from purebench.checks.finding import Finding
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import ResultWarning
from purebench.data.pictures import PictureTable, to_bytes
from purebench.execution.context import Context
from purebench.execution.incremental import Run
from purebench.records import store
from purebench.records.record import Outcome
from purebench.results.rank import Row, rank
from purebench.results.results import CLEAN, DefenseResult
from purebench.statistics import Estimate

SHOWN = 8
"""Images in a picture."""


@dataclass(frozen=True)
class Evidence:
    """A defense of a claim, and what was found of it so far.

    asked: how the defense was named, empty for an object; board: how its board was.
    """

    row: DefenseChoice
    asked: str
    board: str
    run: Run
    seen: tuple[Context, DefenseResult] | None = None

    def after(self, context: Context, found: DefenseResult) -> Evidence:
        """The same after more was found."""
        return replace(self, seen=(context, found))

    @property
    def context(self) -> Context:
        """The board as it was run. Raises PurebenchError before anything was."""
        return self._seen[0]

    @property
    def found(self) -> DefenseResult:
        """What was found. Raises PurebenchError before anything was."""
        return self._seen[1]

    @property
    def _seen(self) -> tuple[Context, DefenseResult]:
        if self.seen is None:
            raise PurebenchError(f"{self.row.name}: nothing was run yet.")
        return self.seen

    @cached_property
    def ranked(self) -> Row:
        """The row of a table that it would be."""
        return rank([self.found])[0]

    @property
    def strongest(self) -> str | None:
        """The attack that left least."""
        return self.ranked.strongest

    @property
    def warnings(self) -> tuple[ResultWarning, ...]:
        """Why its accuracy may be too high."""
        return self.ranked.warnings

    @property
    def command(self) -> str:
        """What shows the same on a command line, or in Python for an object."""
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
    """A path as one would type it here: from the folder that one is in, where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)


def explain(
    sides: Sequence[Evidence], estimate: Estimate | None, folder: Path, *, of: str = "", again: str = ""
) -> list[str]:
    """The lines of a message, after the adversarial images were written into `folder`.

    of: what the estimate is of, where the claim's own line does not say so. again: what shows the same on a command
    line; where it is empty each side's own command.
    """
    lines = []
    if estimate is not None:
        sure = f"{100 * estimate.confidence:g} %, at any time"
        lines.append(f"  estimate   {of}{estimate.percent()} ({sure}, {estimate.n} images, {estimate.method})")
    for side in sides:
        lines += _of(side, folder, f"{side.row.name}: " if len(sides) > 1 else "", again or side.command)
    return lines


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
    """Writes the images of the strongest attack, or the clean ones where there is none; None if it made none.

    adversarial.npz: images and adversarial float32 [N,C,H,W] in [0,1], labels, positions in the dataset, broken;
    adversarial.png: the first that are broken, above what they were made from.
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


def table(findings: Sequence[Finding]) -> list[str]:
    """A line for each finding, in columns."""
    wide = max(len(finding.result) for finding in findings)
    return [f"  {finding.result:<{wide}}  {finding.name}: {finding.sentence}" for finding in findings]
