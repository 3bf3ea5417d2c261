"""Reads text files from untrusted sources: limited size, UTF-8, and one-sentence errors."""

from __future__ import annotations

import re
from pathlib import Path
from reprlib import Repr

from purebench.core.errors import PurebenchError

MEBIBYTE = 2**20
UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
"""Seconds of the units of a duration."""
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 4
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Return the value as an error message shows it: its repr in one short line, whatever its size."""
    if isinstance(value, int) and abs(value) >= 10**40:  # Python refuses to convert much longer ones to text
        return "a whole number of more than 40 digits"
    text = _SHORT.repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def read_text(path: Path, most: int) -> str:
    """Read a UTF-8 text file, without its byte order mark.

    Args:
        path: the file.
        most: the largest accepted size in bytes.

    Returns:
        The contents of the file.

    Raises:
        PurebenchError: the file is missing, is not a regular file, is too large or is not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise PurebenchError(f"{path}: expected a file, but it is a folder or a special file.")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PurebenchError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error}).") from error
    if len(data) > most:
        raise PurebenchError(f"{path}: expected at most {most / MEBIBYTE:g} MiB, but the file is larger.")
    if data[:2] in _BOMS:
        raise PurebenchError(f"{path}: expected UTF-8, but it cannot be read (it is {_BOMS[data[:2]]}); save it again.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PurebenchError(
            f"{path}: expected UTF-8 text, but it cannot be read (byte {error.start} is invalid); save it again."
        ) from error


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 attack" and "2 attacks"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format a duration: "8.3 s", "12.0 min", "3.4 h"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def parse_duration(text: str | float, where: str, unit: str) -> float:
    """Return the seconds of a duration such as "90s", "10m", "10 min" or "2h".

    Args:
        text: the duration.
        where: the option that states it, for the message.
        unit: the unit of a number without one, a key of `UNITS`.

    Raises:
        PurebenchError: it is no duration.

    >>> parse_duration("90s", "--minutes", "m"), parse_duration("1.5", "--minutes", "m")
    (90.0, 90.0)
    """
    found = re.fullmatch(r"\s*(\S*?)\s*(s|min|m|h)?\s*", str(text))
    try:
        return float(found[1] if found else text) * UNITS[(found and found[2]) or unit]
    except ValueError as error:
        raise PurebenchError(
            f"{where}: expected a duration such as 90s, 10m or 2h, but got {shown(text)}; write a number and s, m or h."
        ) from error
