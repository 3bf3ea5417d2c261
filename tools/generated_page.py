"""Writes the generated parts of a page of the docs, or checks that they are current."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def write_page(
    path: Path, written: Callable[[str], str], arguments: Sequence[str], *, usage: str, outdated: str
) -> int:
    """Write or check a page, and return the exit code.

    Args:
        path: the page.
        written: returns the text of the page with its generated parts.
        arguments: of the command line: none to write, `--check` to check.
        usage: printed for other arguments.
        outdated: printed if the page is not current.
    """
    page = path.read_text(encoding="utf-8")
    found = written(page)
    if list(arguments) == ["--check"]:
        if page != found:
            print(outdated)
        return int(page != found)
    if arguments:
        print(usage)
        return 2
    path.write_text(found, encoding="utf-8")
    return 0
