"""Reads a committed result file, with which `robustness.not_worse_than` compares a defense."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.replay import command
from purebench.core.errors import PurebenchError
from purebench.results.files.export import load_result
from purebench.results.merge import header_of
from purebench.results.ranking.regression import other_board, other_classifier, other_conditions
from purebench.results.results import DefenseResult
from purebench.results.scores import Floats, per_image


@dataclass(frozen=True)
class Baseline:
    """A committed result of a defense.

    Attributes:
        path: The result file.
        result: The result.
        scores: Share of correct fresh draws of each image [n] in [0,1], in the board's random order.
    """

    path: Path
    result: DefenseResult
    scores: Floats

    @property
    def shown(self) -> str:
        """The names of the row and of the file, without braces, which have a meaning in the texts of questions."""
        return f"{self.result.name} in {self.path.name}".replace("{", "(").replace("}", ")")

    def check(self, found: DefenseResult) -> None:
        """Check that a new result is of the same images and attacks; warn if the code of the classifier differs.

        Args:
            found: The new result, on the same images or on the first of them.

        Raises:
            PurebenchError: The images, the data set or the code of attacks differ.
        """
        old, count = self.result, len(found.images)
        same = list(found.images) == list(old.images[:count]) and list(found.labels) == list(old.labels[:count])
        if not same or found.provenance.get("data") != old.provenance.get("data"):
            raise PurebenchError(f"{self.path}: expected a result on the images of the board, but its images differ.")
        if reasons := other_conditions(old, found, images=False):
            raise PurebenchError(
                f"{self.path}: expected a result under the same attacks, but {'; '.join(reasons)}; {_cure(self)}"
            )
        if told := other_classifier(old, found):
            warnings.warn(f"{self.path}: {told}", stacklevel=2)


def read_baseline(path: Path, board: Board, *, defense: str, shown: str) -> Baseline:
    """Read a committed result, and check that it is of the same board.

    Args:
        path: The result file.
        board: The board on which the new defense is evaluated.
        defense: The new defense in a command that writes a missing file.
        shown: The board as the user named it.

    Returns:
        The baseline.

    Raises:
        PurebenchError: The file is not a result, its board differs, or images errored or were not attacked.
    """
    if not path.is_file():
        raise PurebenchError(
            f"{path}: expected a result file, but there is none; write it with "
            f"{command('run', shown, defense=[defense], results=path.parent)} and commit it."
        )
    result = load_result(path)
    if names := other_board(result.board, header_of(board), images=False):
        raise PurebenchError(
            f"{path}: expected a result of the board {board.name} ({shown}), but the boards differ in "
            f"{', '.join(names)}; choose its board with board=…, or write the file again."
        )
    if not result.attacked:
        raise PurebenchError(f"{path}: expected a result of an attack, but no attack of its board applied.")
    if result.errored:
        raise PurebenchError(
            f"{path}: expected a robust accuracy, but {result.errored} images errored; run it again with "
            "--retry-errors."
        )
    return Baseline(path, result, per_image(result))


def _cure(baseline: Baseline) -> str:
    return f"evaluate {baseline.result.name} again with this version of purebench, and commit the file."
