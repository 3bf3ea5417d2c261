"""Defines the errors for invalid input; the command line prints a PurebenchError as one line and exits with 2."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real


class PurebenchError(Exception):
    """Invalid input. The message says what was expected, what was given, and how to fix it."""


@dataclass(frozen=True)
class Missing:
    """A file or folder published by a third party that is missing on this machine.

    Attributes:
        place: the path where it was looked for.
        published: the address where it is published.
        size: its size in bytes, None if it is not known.
        digest: its hash, such as `sha256 a37c…`, or its first digits; empty if it is not known.
        licence: its licence; empty if it is not known.
        download: the address from which `purebench fetch` can download the file itself; empty if the user has to, for
            example because it needs a login.
    """

    place: str
    published: str
    size: int | None = None
    digest: str = ""
    licence: str = ""
    download: str = ""

    def __str__(self) -> str:
        licence = f"licence {self.licence}" if self.licence else ""
        known = [f"{self.size:,} bytes" if self.size else "", self.digest, licence]
        return f"{self.place} ({'; '.join([f'published at {self.published}', *filter(None, known)])})"


class MissingFiles(PurebenchError):
    """Files published by third parties that are not on this machine."""

    def __init__(self, *files: Missing):
        super().__init__(*files)
        self.files = tuple(dict.fromkeys(files))

    def __str__(self) -> str:
        what = "; ".join(str(file) for file in self.files)
        return (
            f"files are missing on this machine: {what}; put them there, or set $PUREBENCH_DATA or "
            "$PUREBENCH_MODELS to the folder that contains them."
        )


class Inapplicable(Exception):
    """The attack does not apply to this defense; the job is SKIPPED with this message as its reason."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the nearest known names, or else all known names.

    If no name is near, names that begin with the word come before all known names.

    Args:
        word: the unknown name.
        known: the known names.

    Examples:
        >>> did_you_mean("squar", ["square", "apgd"])
        "did you mean 'square'?"
    """
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.55)
    close = close or [name for name in names if word and name.lower().startswith(word.lower())][:3]
    if close:
        return "did you mean " + " or ".join(repr(name) for name in close) + "?"
    return "known: " + (", ".join(names) if names else "none") + "."


def shown(value: object, longest: int = 60) -> str:
    """Return a value in one short line for a message, even if `repr` fails, as for an int of 5,000 digits.

    Args:
        value: any value.
        longest: the largest number of characters.
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:
        return f"<{type(value).__name__} too long to print>"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def require_fraction(name: str, value: object, *, ends: bool = True) -> float:
    """Return the value if it is a fraction in [0,1].

    Args:
        name: the name of the value, for the message.
        value: the value to check.
        ends: whether 0 and 1 are accepted; without them the range is (0,1).

    Raises:
        PurebenchError: the value is not a number in the range.
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    if not (0 <= number <= 1 if ends else 0 < number < 1):
        raise PurebenchError(f"{name}: expected a fraction, such as 0.4 for 40 %, but got {value!r}.")
    return number
