"""Names of boards and defenses that are also names of files, on any system."""

from __future__ import annotations

from collections.abc import Iterable

from purebench.core.errors import PurebenchError

LONGEST = 100
"""Characters: a file system takes 255 bytes, and endings and temporary names need some."""
OURS = frozenset({"timings", "ranks"})
"""Files that stand beside those of the defenses in a folder of results."""
DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)
"""Names that Windows takes for devices, with any ending."""


def check_file_name(name: str, where: str) -> None:
    """Raise PurebenchError for a name that cannot be a file's on every system.

    Args:
        name: Of a board or a defense.
        where: What it names, for the message, such as "defenses".
    """
    fault = ""
    if len(name) > LONGEST:
        fault = f"has {len(name)} characters; at most {LONGEST} are possible"
    elif name.endswith((".", " ")):
        fault = f"ends with {name[-1]!r}, which Windows drops"
    elif name.partition(".")[0].lower() in DEVICES:
        fault = "is the name of a device on Windows"
    elif name.lower() in OURS:
        fault = "is a file of purebench's own in a folder of results"
    elif not name or name.startswith(".") or any(one in name for one in '/\\:*?"<>|') or not name.isprintable():
        fault = "holds a character that file names do not have"
    if fault:
        raise PurebenchError(f"{where}: expected a name that can be a file's, but {name[:120]!r} {fault}; rename it.")


def check_file_names(names: Iterable[str], where: str) -> None:
    """Raise PurebenchError for a name that cannot be a file's, and for two that differ only in case."""
    seen: dict[str, str] = {}
    for name in names:
        check_file_name(name, where)
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise PurebenchError(
                f"{where}: expected names that differ, but {other!r} and {name!r} are one file where case does not "
                "count; rename one."
            )
