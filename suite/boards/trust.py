"""Checks which code a board would run, and asks for consent before foreign code is run."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from purebench.boards.board import Board
from purebench.boards.bundled import bundled, find_board
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec


def local_files(board: Board) -> list[Path]:
    """Return the Python files that a board's specs name, including those within parameters, without duplicates."""
    specs = [board.dataset.use, board.classifier]
    specs += [spec for attack in board.attacks for spec in (attack.use, Spec.parse(attack.gradient))]
    specs += [defense.use for defense in (*board.defenses, *board.controls)]
    texts = [text for spec in specs for text in (spec.name, *_texts(spec.params))]
    found = [path for text in texts if (path := _file(text)) is not None]
    return list(dict.fromkeys(found))


def _texts(value: Any) -> Iterator[str]:
    """Yield all strings within plain values, including keys: a defense may be a parameter of another."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _file(text: str) -> Path | None:
    """Return the file of "path/to/file.py:name" or "path/to/file.py:name(…)"."""
    return Spec(text.partition("(")[0].strip()).path


def check_trust(name: str, board: Board, *, trust: bool) -> None:
    """Ask before a board runs Python files that are not in its own folder.

    A file in the folder of the board.yaml came with it, and running the board runs it. A file elsewhere may be one that
    the board's author should have no access to. Specs of the user's own command line are not checked.

    Args:
        name: The board as the user named it: a bundled one, or the path of a board.yaml.
        board: The board as it is in its file.
        trust: Whether the user has consented to run everything.

    Raises:
        PurebenchError: If the user refuses, or cannot be asked.
    """
    if name not in bundled():
        check_files(name, board, find_board(name).resolve().parent, trust=trust)


def check_files(name: str, board: Board, folder: Path | None, *, trust: bool) -> None:
    """Ask before Python files are run that are not in a folder.

    Args:
        name: The file that names them, for the message.
        board: The board.
        folder: The folder, without symbolic links; None if no folder is trusted.
        trust: Whether the user has consented to run everything.

    Raises:
        PurebenchError: If the user refuses, or cannot be asked.
    """
    if trust:
        return
    foreign = [path for path in local_files(board) if folder is None or not path.resolve().is_relative_to(folder)]
    if not foreign:
        return
    where, cure = ("", "") if folder is None else (" from outside its folder", ", or copy it into the board's folder")
    told = f"{name} runs Python code{where}: {', '.join(str(path) for path in foreign)}"
    if sys.stdin.isatty() and sys.stderr.isatty():
        import typer

        from purebench.core.terminal_output import complain

        complain(told)
        if typer.confirm("Run this code?", err=True):
            return
    raise PurebenchError(f"{told}; read this code, then add --trust to run it{cure}.")


def built_in(group: str, spec: Spec) -> bool:
    """Return whether a spec names a part of this package itself; a store of unknown origin may name only those."""
    point = registry.installed(group).get(spec.name)
    return point is not None and point.dist is not None and point.dist.name == "purebench"
