"""The one error that a user can mend: the command line prints it as a line and exits with 2."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real


class PurebenchError(Exception):
    """Bad input. The message says what was expected, what came, and the cure."""


@dataclass(frozen=True)
class Missing:
    """A file or folder that others publish: where it was looked for, and where it is to be had."""

    place: str
    published: str

    def __str__(self) -> str:
        return f"{self.place} (published at {self.published})"


class MissingFiles(PurebenchError):
    """What others publish, and this machine does not have."""

    def __init__(self, *files: Missing):
        super().__init__(*files)
        self.files = tuple(dict.fromkeys(files))

    def __str__(self) -> str:
        what = "; ".join(str(file) for file in self.files)
        return f"not on this machine: {what}; put it there, or say where it is ($PUREBENCH_DATA, $PUREBENCH_MODELS)."


class Inapplicable(Exception):
    """The attack does not apply to this defense: the job is SKIPPED, with this as its reason."""


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


def shown(value: object, longest: int = 60) -> str:
    """Return a value in one short line for a message, also one that `repr` refuses, such as an int of 5,000 digits."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        return f"<{type(value).__name__} too long to print>"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def require_fraction(name: str, value: object, *, ends: bool = True) -> float:
    """The value, if it is a fraction in [0,1], or in (0,1) without the ends; else raises PurebenchError."""
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not (0 <= number <= 1 if ends else 0 < number < 1):
        raise PurebenchError(f"{name}: expected a fraction, such as 0.4 for 40 %, but got {value!r}.")
    return number
