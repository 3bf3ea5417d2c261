"""Finds and loads the boards of a site: bundled ones by name, folders of results, and folders of boards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from purebench.boards.board import DefenseChoice
from purebench.boards.bundled import bundled
from purebench.cli.output.result_files import from_results
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.registry import Spec

if TYPE_CHECKING:
    from purebench.leaderboards.site.source import BoardSource

RESULTS = "results"


def results_folders(wanted: Sequence[str]) -> list[Path]:
    """Return the folders of results of boards.

    Args:
        wanted: Names of bundled boards; folders of results; folders of a board, with a sub-folder `results`; folders of
            folders of these two kinds. All bundled boards with results if empty.

    Raises:
        PurebenchError: If one is none of these.
    """
    known = {name: path.parent / RESULTS for name, path in bundled().items() if (path.parent / RESULTS).is_dir()}
    if not wanted:
        return list(known.values())
    found = [folder for one in wanted for folder in ([known[one]] if one in known else _below(Path(one)))]
    empty = next((one for one in wanted if one not in known and not list(_below(Path(one)))), None)
    if empty is not None:
        hint = f"it is no folder; {did_you_mean(empty, known)}"
        if Path(empty).is_dir():
            hint = "it has no results: JSON files in it, in BOARD/results/ or in BOARD/"
        raise PurebenchError(f"--boards: expected a bundled board or a folder of results, but got {empty!r}; {hint}")
    return list(dict.fromkeys(folder.absolute() for folder in found))


def load_source(folder: Path, *, compute: bool = False) -> BoardSource:
    """Load and rank the results of a folder.

    Args:
        folder: The folder of results.
        compute: Whether ranks are computed although `ranks.json` is that of these results.

    Raises:
        PurebenchError: If the results are of several boards, or a file is not a result.
    """
    from purebench.leaderboards.site.source import board_source
    from purebench.results.files.companions import load_companions, load_declared

    board, found = from_results(folder)
    declared = load_declared(folder)
    board = replace(board, controls=tuple(DefenseChoice(name, Spec("none")) for name in declared))
    return board_source(board, folder, found, load_companions(folder, found), declared, compute=compute)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the folders of results in a folder: itself, or those of its sub-folders, as `_own` finds them."""
    if not folder.is_dir():
        return
    if (own := _own(folder)) is not None:
        yield own
        return
    yield from (own for one in sorted(folder.iterdir()) if (own := _own(one)) is not None)


def _own(folder: Path) -> Path | None:
    """Return the folder of results of one board: the sub-folder `results` if there is one, or else itself.

    A JSON schema, as it may lie beside boards, is no result.
    """
    place = folder / RESULTS if (folder / RESULTS).is_dir() else folder
    return place if any(not path.name.endswith(".schema.json") for path in place.glob("*.json")) else None
