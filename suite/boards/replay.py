"""Builds the commands that reproduce a result, for "run it yourself" on pages and for failure reports."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.core.registry import IN_MEMORY, Spec

Value = str | int | float | bool | Path | Sequence[str] | None


def command(name: str, *arguments: str, **options: Value) -> str:
    """Return a command line of purebench, quoted for a shell.

    Args:
        name: The sub-command, such as "run".
        *arguments: Positional arguments.
        **options: Options by name, `_` for `-`. True is a flag, a list repeats the option; None, False and empty values
            are left out.

    >>> command("run", "fashion-quick", defense=["vae"], images=4, cascade=False)
    'purebench run fashion-quick --defense vae --images 4'
    """
    words = ["purebench", name, *arguments]
    for option, value in options.items():
        flag = "--" + option.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, str | int | float | Path) and value is not False and value != "":
            words += [flag, str(value)]
        elif value and not isinstance(value, str | int | float | Path):
            for one in value:
                words += [flag, one]
    return shlex.join(words)


def run_command(board: Board, defense: Spec | Sequence[Spec] | None = None, **options: Value) -> str:
    """Return the `purebench run` that reproduces a board's results, or those of one of its rows.

    The command contains everything in which the board differs from the file that it was made from: images, radius,
    stopping rule, cascade, precision, layout and compilation, and the rows, unless they are those of the file. That
    file is read for bundled boards only; for other boards, which may come from another user, the command contains all
    of it.

    Args:
        board: The board as it was run.
        defense: The row's spec, or those of several rows; None for all rows of the board.
        **options: Further options, such as store and device.
    """
    rows = [row.use for row in board.shown] if defense is None else [defense] if isinstance(defense, Spec) else defense
    if any(row.name.startswith(IN_MEMORY) for row in rows):
        return "no command reproduces it, because the defense was an object in memory"
    own, _, radius = board.name.partition("@")
    origin = board.origin or (own if own in bundled() else f"{own}.yaml")
    file = load_board(bundled()[origin]) if origin in bundled() else None
    stop = board.stop if file is None or board.stop != file.stop else None
    given: dict[str, Value] = {
        "defense": [str(row) for row in rows] if defense is not None else _other_rows(board, file),
        "images": None if file is not None and board.dataset.images == file.dataset.images else board.dataset.images,
        "radius": (board.radius_text or repr(board.threat.radius)) if radius else None,
        "until": [] if stop is None else _until(stop.half_width, stop.decided),
        "max_images": None if stop is None else stop.max_images,
        "cascade": board.cascade and (file is None or not file.cascade),
        "attack_precision": None if board.attack_precision == "float32" else board.attack_precision,
        "channels_last": board.channels_last and (file is None or not file.channels_last),
        "compile": board.compile and (file is None or not file.compile),
    }
    return command("run", origin, **(given | options))


def _other_rows(board: Board, file: Board | None) -> list[str]:
    """Return the rows of a board for `--defense`; [] if they are those of its file."""
    uses = [row.use for row in board.shown]
    if file is not None and sorted(map(str, uses)) == sorted(str(row.use) for row in file.shown):
        return []
    return [row.name if uses.count(row.use) > 1 else str(row.use) for row in board.shown]


def _until(half_width: float | None, decided: bool) -> list[str]:
    rules = [] if half_width is None else [f"half-width={half_width!r}"]
    return rules + (["decided"] if decided else [])
