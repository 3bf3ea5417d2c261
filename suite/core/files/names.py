"""Checks that names of boards and defenses are valid file names on all operating systems."""

from __future__ import annotations

from collections.abc import Iterable

from purebench.core.errors import PurebenchError

LONGEST = 100
"""Most characters of a name: a file system accepts 255 bytes, and suffixes and temporary names need some of them."""
OURS = frozenset({"timings", "ranks", "grades"})
"""Further files in a folder of results, which are not results of defenses."""
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)
"""Names that Windows reserves for devices, with any suffix."""


def check_file_name(name: str, where: str) -> None:
    """Check that a name is a valid file name on all operating systems.

    Args:
        name: the name of a board or a defense.
        where: the place of the name, for the message, such as "defenses".

    Raises:
        PurebenchError: the name cannot be a file name.
    """
    fault = ""
    if len(name) > LONGEST:
        fault = f"has {len(name)} characters, and at most {LONGEST} are allowed"
    elif name.endswith((".", " ")):
        fault = f"ends with {name[-1]!r}, which Windows removes"
    elif name.partition(".")[0].lower() in DEVICES:
        fault = "is the name of a device on Windows"
    elif name.lower() in OURS:
        fault = "is the name of a file of purebench in a folder of results"
    elif not name or name.startswith(".") or any(one in name for one in '/\\:*?"<>|') or not name.isprintable():
        fault = "contains a character that is not allowed in file names"
    if fault:
        raise PurebenchError(f"{where}: expected a valid file name, but {name[:120]!r} {fault}; rename it.")


def check_file_names(names: Iterable[str], where: str) -> None:
    """Check that all names are valid file names that differ by more than case.

    Args:
        names: the names of boards or defenses.
        where: the place of the names, for the message, such as "defenses".

    Raises:
        PurebenchError: a name cannot be a file name, or two names differ only in case.
    """
    seen: dict[str, str] = {}
    for name in names:
        check_file_name(name, where)
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise PurebenchError(
                f"{where}: expected names that differ by more than case, but got {other!r} and {name!r}; rename one."
            )
