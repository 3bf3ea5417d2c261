"""Makes the Python files that a board.yaml names independent of the folder from which purebench is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from purebench.boards.board import Board
from purebench.core.registry import Spec


def beside(board: Board, folder: Path) -> Board:
    """Return the board with the relative `path/to/file.py:name` of its specs seen from a folder.

    A file that is not in the folder is left as it is: it is then seen from the working directory. Other files, such as
    those of weights, belong to the factories that read them.

    Args:
        board: the board, as it is in its file.
        folder: the folder of the file.
    """

    def place(path: Path) -> Path:
        inside = not path.is_absolute() and (folder / path).is_file()
        return folder / path if inside else path

    return with_files(board, place)


def with_files(board: Board, place: Callable[[Path], Path]) -> Board:
    """Return the board with other paths of the Python files in its specs.

    Args:
        board: the board.
        place: returns the new path of a file, or the same path.
    """

    def moved(value: Any) -> Any:
        """Return plain values with their files moved, at any depth: a defense may be a parameter of another."""
        if isinstance(value, str):
            return _moved(value, place)
        if isinstance(value, Mapping):
            return {moved(key): moved(one) for key, one in value.items()}
        return [moved(one) for one in value] if isinstance(value, list | tuple) else value

    def spec(one: Spec) -> Spec:
        return Spec(moved(one.name), moved(one.params))

    return replace(
        board,
        dataset=replace(board.dataset, use=spec(board.dataset.use)),
        classifier=spec(board.classifier),
        attacks=tuple(replace(one, use=spec(one.use)) for one in board.attacks),
        defenses=tuple(replace(one, use=spec(one.use)) for one in board.defenses),
        controls=tuple(replace(one, use=spec(one.use)) for one in board.controls),
    )


def _moved(text: str, place: Callable[[Path], Path]) -> str:
    """Return a spec such as "file.py:name(…)" with the new path of its file."""
    name, bracket, rest = text.partition("(")
    path = Spec(name.strip()).path
    if path is None or (moved := place(path)) == path:
        return text
    return f"{moved.as_posix()}:{name.strip().rpartition(':')[2]}{bracket}{rest}"
