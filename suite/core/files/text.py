"""Reads text files from untrusted sources: limited size, UTF-8, and one-sentence errors."""

from __future__ import annotations

from pathlib import Path
from reprlib import Repr

from purebench.core.errors import PurebenchError

MEBIBYTE = 2**20
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


def duration(seconds: float) -> str:
    """Format a duration: "8.3 s", "12.0 min", "3.4 h"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
