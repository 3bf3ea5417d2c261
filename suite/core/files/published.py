"""Looks up files that third parties publish; `listing` collects what is looked up, without loading anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from purebench.core.errors import Missing, MissingFiles


@dataclass(frozen=True)
class LookedUp:
    """A published file that a factory has looked up.

    Attributes:
        file: the file.
        found: where it was found, perhaps under another of its names; None if it is missing.
    """

    file: Missing
    found: Path | None


_LISTED: ContextVar[list[LookedUp] | None] = ContextVar("listed", default=None)


@contextmanager
def listing() -> Iterator[list[LookedUp]]:
    """Collect the files that are looked up within the context; each look-up then raises MissingFiles.

    Nothing is loaded, because the factory stops at the look-up, whether the file exists or not.

    Yields:
        The files, in the order in which they were looked up.
    """
    listed: list[LookedUp] = []
    token = _LISTED.set(listed)
    try:
        yield listed
    finally:
        _LISTED.reset(token)


def note(*files: LookedUp) -> None:
    """Report files that a factory is about to load; outside of `listing` this does nothing.

    Raises:
        MissingFiles: within `listing`.
    """
    listed = _LISTED.get()
    if listed is not None:
        listed.extend(files)
        raise MissingFiles(*(one.file for one in files))


def find_published(file: Missing, others: Sequence[Path] = ()) -> Path:
    """Return the path of a published file.

    Args:
        file: the file.
        others: other places in which the same content may lie, such as that of the file's conversion.

    Raises:
        MissingFiles: it is in none of the places, or `listing` collects files.
    """
    found = next((place for place in (Path(file.place), *others) if place.is_file()), None)
    note(LookedUp(file, found))
    if found is None:
        raise MissingFiles(file)
    return found
