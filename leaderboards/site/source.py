"""The contents of one board of the site: its results, ranked, with the evidence behind the grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from purebench.boards.board import Board
from purebench.results.files.export import RANKS
from purebench.results.files.ranks_file import stored_standing
from purebench.results.files.verdicts import RowBadge, load_badges
from purebench.results.grading.gathering import Companions, evidence_of
from purebench.results.grading.grade import GradeEvidence
from purebench.results.ranking.rank import Row, rank
from purebench.results.ranking.standing import Standing
from purebench.results.results import DefenseResult


@dataclass(frozen=True)
class BoardSource:
    """One board with its ranked rows.

    Attributes:
        board: the board.
        folder: the folder of its results.
        rows: its rows, in the order of their ranks.
        standing: the comparisons of all pairs of rows; None where they cannot be compared.
        evidence: the evidence behind the grades.
        badges: the badge of each row.
    """

    board: Board
    folder: Path
    rows: tuple[Row, ...]
    standing: Standing | None
    evidence: GradeEvidence
    badges: Mapping[str, RowBadge]

    @property
    def ranks_text(self) -> str:
        """A remark if the ranks were not computed; "" if they were."""
        if self.standing is None or self.standing.computed:
            return ""
        return (
            f"ranks: those of {RANKS}, not computed again (only that its hashes match these results, and that its rank "
            "intervals follow from its p-values)"
        )


def board_source(
    board: Board,
    folder: Path,
    results: Sequence[DefenseResult],
    companions: Companions | None = None,
    declared: Sequence[str] = (),
    *,
    compute: bool = False,
) -> BoardSource:
    """Rank the results of a folder; `ranks.json` is used if it is that of these results.

    Args:
        board: the board of the results.
        folder: the folder that they were read from.
        results: the results of the board's rows.
        companions: the results of the boards derived from the board, such as its controls.
        declared: the names of the controls that the board declares.
        compute: whether ranks are computed although `ranks.json` is that of these results.

    Raises:
        PurebenchError: the rows cannot be ranked, or `ranks.json` or a file of verdicts is invalid.
    """
    found: list[Standing | None] = []

    def compare(known: Sequence[DefenseResult]) -> Standing | None:
        found.append(stored_standing(folder, known, compute=compute))
        return found[0]

    evidence = evidence_of(results, companions, declared)
    rows = rank(results, evidence, board.origin, compare)
    return BoardSource(board, folder, tuple(rows), found[0], evidence, load_badges(folder, results))
