"""Implements `purebench show --results`: prints results from their files alone, without store, images or models.

No code of the results is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purebench.boards.board import Board, DefenseChoice
from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board, parse_board
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec

if TYPE_CHECKING:
    from purebench.results.results import DefenseResult


def show_results(folder: Path, page: Path | None) -> None:
    """Write the page if requested and print the ranking of the results in a folder.

    Args:
        folder: The folder.
        page: A file for the page, None for none.

    Raises:
        PurebenchError: If there are no results, if they are of several boards, or if a file is not a result.
    """
    from purebench.leaderboards.output import check_outputs, present
    from purebench.results.files.companions import load_companions, load_declared
    from purebench.results.files.verdicts import load_badges

    check_outputs(page, None)
    board, found = from_results(folder)
    board = replace(board, controls=tuple(DefenseChoice(name, Spec("none")) for name in load_declared(folder)))
    companions, badges = load_companions(folder, found), load_badges(folder, found)
    present(board, found, page, (), {}, companions=companions, badges=badges)


def from_results(folder: Path) -> tuple[Board, list[DefenseResult]]:
    """Return the board and the results that `purebench run --results FOLDER` wrote.

    Args:
        folder: The folder.

    Returns:
        The board, and the results of its defenses. Title and description of the board are those of `board.yaml` beside
        a folder named `results`, if it is the file of the board.

    Raises:
        PurebenchError: If there are no results, if they are of several boards, if a file is not a result, or if
            `board.yaml` is not a board.
    """
    from purebench.results.files.export import load_results

    if not folder.is_dir():
        raise PurebenchError(f"--results: expected a folder of results, but {folder} is not a folder.")
    found = load_results(folder)
    if not found:
        raise PurebenchError(f"--results: expected results (JSON files) in {folder}, but there are none.")
    other = next((one for one in found if one.board != found[0].board), None)
    if other is not None:
        raise PurebenchError(
            f"{folder}: expected results of one board with the same settings, but those of {found[0].name} "
            f"({found[0].board.get('name')}) and {other.name} ({other.board.get('name')}) differ; keep the results "
            "of each board in a separate folder."
        )
    board = board_of(found)
    _check_images(folder, board, found)
    file = folder.absolute().parent / "board.yaml"
    if folder.name == "results" and file.is_file() and (own := load_board(file)).name == board.name:
        board = replace(board, title=own.title, about=own.about)
    return board, found


def _check_images(folder: Path, board: Board, found: Sequence[DefenseResult]) -> None:
    """Raise PurebenchError if the rows are not of one set of labelled images, as those of a board are."""
    labels: dict[int, int] = {}
    for one in found:
        for image, label in zip(one.images, one.labels, strict=True):
            if labels.setdefault(image, label) != label:
                raise PurebenchError(
                    f"{folder}: expected one label of image {image} in all results, but {one.name} has another; run "
                    "the board again."
                )
    if len(labels) > board.dataset.images:
        raise PurebenchError(
            f"{folder}: expected results on the {board.dataset.images} images of one board, but together they have "
            f"{len(labels)}; keep the results of each board in a separate folder."
        )


def board_of(found: Sequence[DefenseResult]) -> Board:
    """Return the board of results, with the rows that have results.

    Title and description are those of the bundled board of the same name, if there is one.

    Args:
        found: Results of one board.

    Returns:
        The board.
    """
    header = dict(found[0].board)
    rows: dict[str, Any] = {one.name: _plain(one) for one in found}
    attacks = header.get("attacks")
    sources = [attack.get("source") for attack in attacks.values()] if isinstance(attacks, dict) else []
    needed = [str(source.get("defense")) for source in sources if isinstance(source, dict)]
    missing = [name for name in dict.fromkeys(needed) if name not in rows]
    own = bundled().get(str(header.get("name", "")).partition("@")[0])
    told = {} if own is None else {name: getattr(load_board(own), name) for name in ("title", "about")}
    board = parse_board(
        told | header | {"defenses": rows | dict.fromkeys(missing, "none"), "only_sources": missing},
    )
    return replace(board, defenses=tuple(row for row in board.defenses if row.name in rows))


def _plain(one: DefenseResult) -> Any:
    return Spec(one.spec["name"], one.spec.get("params", {})).plain()
