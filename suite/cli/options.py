"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from purebench.core.files.text import parse_duration

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="SQLite file of all records; created if needed. Default: the user's data folder."),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Do not ask before running Python files that lie outside the folder of board.yaml."),
]
IN_MINUTES = "Such as 90s, 10m or 2h; a number without a unit means minutes."
IN_SECONDS = "Such as 90s, 10m or 2h; a number without a unit means seconds."


def in_minutes(option: str) -> Callable[[str], float]:
    """Return the function that reads a time limit in minutes.

    Args:
        option: The option, for the error message.
    """
    return lambda text: parse_duration(text, option, "m") / 60


def in_seconds(option: str) -> Callable[[str], float]:
    """Return the function that reads a time limit in seconds.

    Args:
        option: The option, for the error message.
    """
    return lambda text: parse_duration(text, option, "s")
