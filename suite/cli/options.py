"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from purebench.core.errors import PurebenchError
from purebench.core.files.text import parse_duration

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="SQLite file of all records; created if needed. Default: the user's data folder."),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Do not ask before running Python files that lie outside the folder of board.yaml."),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="cpu, cuda, cuda:0, several such as cuda:0,cuda:1 (one worker each), or auto: all visible GPUs, and the "
        "CPU if there are none."
    ),
]
OneDeviceOption = Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(help="Number of workers; default: one per core on the CPU, and one per GPU.", min=1),
]
PerDeviceOption = Annotated[
    int | None,
    typer.Option(help="Number of workers that share each GPU, in place of --workers; each loads the models.", min=1),
]
IN_MINUTES = "Such as 90s, 10m or 2h; a number without a unit means minutes."
IN_SECONDS = "Such as 90s, 10m or 2h; a number without a unit means seconds."


def positive_seconds(option: str) -> Callable[[str], float]:
    """Return the function that reads a time limit in seconds, which must be more than 0.

    Args:
        option: The option, for the error message.

    Raises:
        PurebenchError: In the function, if it is no such duration.
    """

    def read(text: str) -> float:
        seconds = parse_duration(text, option, "s")
        if not 0 < seconds < inf:
            raise PurebenchError(f"{option}: expected a time of more than 0 s, such as 2h, but got {text!r}.")
        return seconds

    return read


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
