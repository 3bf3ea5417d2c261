"""Defines the report of an evaluation, with methods for tables, comparisons, plots and an HTML page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from purebench.boards.board import Board
from purebench.core import registry
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.data.datasets import ImageSet
from purebench.leaderboards import html, terminal
from purebench.leaderboards import page as board_page
from purebench.records.outcome import PICKED, WORST_CASE
from purebench.results.files.adversarial import AdversarialExamples, StoredExamples
from purebench.results.files.stored_board import originals
from purebench.results.grading.criteria.letters import Grade
from purebench.results.grading.evidence import ControlScore
from purebench.results.grading.gathering import Companions, declared_controls, evidence_of
from purebench.results.grading.grade import GradeEvidence
from purebench.results.ranking.comparisons import Pair, Side, comparisons
from purebench.results.ranking.rank import Row, rank
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

WIDTH = 100
"""Columns of the text version of the report."""


@dataclass(frozen=True, eq=False)
class Report:
    """The defenses that were evaluated on a board, ranked by robust accuracy, each number with its confidence interval.

    Attributes:
        board: the board that was run.
        results: the results, one per defense.
        classes: the names of the classes.
        left_out: rows that were not run because their files are not on this machine.
        stored: the place of the adversarial examples; None if the report was not made by an evaluation.
        companions: the results of the boards derived from the board, such as its controls, by their kind.
    """

    board: Board
    results: tuple[DefenseResult, ...]
    classes: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    stored: StoredExamples | None = field(default=None, repr=False)
    companions: Companions = field(default_factory=dict, repr=False)

    @cached_property
    def rows(self) -> list[Row]:
        """One row per defense, best first.

        Each has `name`, `grade`, `rank`, `robust`, `clean`, `strongest`, `warnings`, `errors` and more.
        """
        return rank(self.results, self.evidence, self.board.origin)

    @cached_property
    def evidence(self) -> GradeEvidence:
        """The evidence behind the grades: scores of the controls and the convergence of each row."""
        return evidence_of(self.results, self.companions, declared_controls(self.board))

    @property
    def grades(self) -> dict[str, Grade]:
        """The grade of the evaluation of each defense, best accuracy first: three letters, their reasons and cures."""
        return {row.name: row.grade for row in self.rows if row.grade is not None}

    @cached_property
    def controls(self) -> list[ControlScore]:
        """How near the attacks of the board come to the known truths of its controls; empty if they were not run."""
        return list(self.evidence.controls)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> Row:
        """Return the row of a defense.

        Raises:
            PurebenchError: the report has no defense of this name; the message suggests the nearest names.
        """
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise PurebenchError(f"report: {name!r} is unknown; {did_you_mean(str(name), found)}")
        return found[name]

    @property
    def robust(self) -> Estimate | None:
        """Robust accuracy of the only defense.

        Raises:
            PurebenchError: there are several defenses.
        """
        return self._only.robust

    @property
    def clean(self) -> Estimate | None:
        """Clean accuracy of the only defense.

        Raises:
            PurebenchError: there are several defenses.
        """
        return self._only.clean

    @property
    def _only(self) -> Row:
        if len(self.rows) != 1:
            names = ", ".join(row.name for row in self.rows)
            raise PurebenchError(f"report: expected one defense, but got {names}; choose one, report['name'].robust.")
        return self.rows[0]

    def to_frame(self, *, attacks: bool = False) -> DataFrame:
        """Return a pandas DataFrame with one line per defense; accuracies are fractions in [0,1].

        Args:
            attacks: whether to return one line for each attack of each defense instead.

        Raises:
            PurebenchError: pandas is not installed.
        """
        try:
            from purebench.leaderboards.charts.frame import of_attacks, of_defenses
        except ImportError as error:
            if error.name is None or error.name.partition(".")[0] != "pandas":
                raise
            raise PurebenchError(
                "to_frame: needs pandas, which is not installed; pip install 'purebench[notebook]'."
            ) from error
        return of_attacks(self.rows) if attacks else of_defenses(self.rows)

    def compare(self, a: str, b: str) -> Pair:
        """Compare two of the defenses on the same images.

        Args:
            a: the name of the first defense.
            b: the name of the second defense.

        Returns:
            The comparison; its `found.difference` is the difference of the robust accuracies with its confidence
                interval.

        Raises:
            PurebenchError: the report has no defense of this name; the message suggests the nearest names.
        """
        sides = (Side(self[a].name, self[a].result), Side(self[b].name, self[b].result))
        (pair,) = comparisons([sides])
        return pair

    def adversarial(self, defense: str, attack: str | None = None) -> AdversarialExamples:
        """Return the adversarial examples of a defense, with the clean images and their outcomes.

        Args:
            defense: the name of the defense.
            attack: the name of an attack; None for the worst case, the picked example of each image, at which the
                robust accuracy is measured; "best-known" for the picks that include bespoke attacks.

        Returns:
            A named tuple `(x_adv, x, y, outcomes, attacks, positions)`; images are float32 [N,C,H,W] in [0,1]. Images
                on which the attack ERRORED or was SKIPPED are left out.

        Raises:
            PurebenchError: the report has no defense or attack of this name, the attack has no example, or the store
                is gone.
        """
        names = [*(cell.name for cell in self.board.attacks), *PICKED]
        wanted = WORST_CASE if attack is None else attack
        row = self[defense]
        if wanted not in names:
            raise PurebenchError(f"adversarial: the attack {wanted!r} is unknown; {did_you_mean(str(wanted), names)}")
        if self.stored is None:
            raise PurebenchError("adversarial: expected a report of purebench.evaluate, but this one has no store.")
        return self.stored.read(self.board, row.name, wanted)

    def plot(self, ax: Any = None) -> Figure:
        """Plot robust accuracies with their confidence intervals, and clean accuracies.

        Args:
            ax: the matplotlib axes to draw into; None for a new figure.

        Returns:
            The matplotlib figure.
        """
        from purebench.leaderboards.figure import intervals

        return intervals(self.board, self.rows, ax)

    def page(self, path: str | Path) -> Path:
        """Write the board's page, one self-contained HTML file with pictures.

        Args:
            path: the file to write.

        Returns:
            The path.

        Raises:
            PurebenchError: the file cannot be written.
        """
        data: ImageSet = registry.create("datasets", self.board.dataset.use)
        shown = originals(data, range(len(data)), self.results)
        page = board_page.render(self.board, self.results, self.classes, shown, self.left_out, self.companions)
        board_page.write_page(Path(path), page)
        return Path(path)

    def __repr__(self) -> str:
        file = io.StringIO()
        table = terminal.board_table(self.board, self.results, WIDTH, self.left_out, self.companions)
        Console(file=file, width=WIDTH, force_jupyter=False, color_system=None).print(table)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def _repr_html_(self) -> str:
        return html.table(self.board, self.rows, self.left_out)
