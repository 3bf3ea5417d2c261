"""The one error that a user can mend: the command line prints it as a line and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PurebenchError(Exception):
    """Bad input. The message says what was expected, what came, and the cure."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a name that was not found: the nearest known ones, else those it begins, else all of them.

    >>> nearest("squar", ["square", "apgd"])
    "did you mean 'square'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.55)
    close = close or [name for name in names if word and name.lower().startswith(word.lower())][:3]
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "known: " + (", ".join(names) if names else "none") + "."
