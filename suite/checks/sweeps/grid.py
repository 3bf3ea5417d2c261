"""Expands a defense with several values of a parameter, such as `diffpure(t={100, 150, 200}, steps=4)`.

The braces are replaced in the text of the spec, so that they also work within a spec that is itself a parameter, such
as `before(purifier='diffpure(t={100, 150})', classifier=fashion-trades)`. Braces with a colon are a mapping, and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec

MOST_STRENGTHS = 64
"""Largest number of strengths of a sweep."""
OPENING, CLOSING = "([{", ")]}"
PARAMETER = re.compile(r"([A-Za-z_]\w*)\s*=\s*$")


@dataclass(frozen=True)
class Strength:
    """One combination of the values that are swept.

    Attributes:
        text: The spec of the defense, as it would be written on a board.
        values: The value of each swept parameter, as it was written.
    """

    text: str
    values: dict[str, str]

    @property
    def label(self) -> str:
        """The swept values in words, such as "t=150"; the spec if nothing is swept."""
        return ", ".join(f"{name}={value}" for name, value in self.values.items()) or self.text


@dataclass(frozen=True)
class Family:
    """A defense whose strength is swept.

    Attributes:
        name: Name of the family.
        text: The defense, with the swept values in braces.
        strengths: Its combinations, in the order in which the values are written.
    """

    name: str
    text: str
    strengths: tuple[Strength, ...]


@dataclass(frozen=True)
class _Braces:
    """Braces in a text: the parameter whose values they contain, the values, and where they stand."""

    parameter: str
    values: tuple[str, ...]
    start: int
    end: int


def family(name: str, text: str) -> Family:
    """Return a family with all combinations of the values in braces; one strength if there are no braces.

    Args:
        name: Name of the family.
        text: The defense, such as "gaussian-noise(sigma={0.05, 0.1})".

    Raises:
        PurebenchError: If the braces are not closed, are not the value of a parameter, contain fewer than two values or
            the same value twice, if there are more than `MOST_STRENGTHS` combinations, or if one is no valid spec.
    """
    text = text.strip()
    braces = list(_braces(name, text))
    names = [one.parameter for one in braces]
    if twice := [one for one in names if names.count(one) > 1]:
        raise PurebenchError(f"{name}: expected one list of values for {twice[0]}, but got two in {text!r}; join them.")
    if (count := prod(len(one.values) for one in braces)) > MOST_STRENGTHS:
        raise PurebenchError(
            f"{name}: expected at most {MOST_STRENGTHS} combinations of the values in braces, but got {count:,}; "
            "remove values, or sweep fewer parameters at once."
        )
    made = []
    for values in product(*(one.values for one in braces)):
        filled = _filled(text, braces, values)
        try:
            Spec.parse(filled)
        except PurebenchError as error:
            raise PurebenchError(f"{name}: {error}") from error
        made.append(Strength(filled, dict(zip(names, values, strict=True))))
    return Family(name, text, tuple(made))


def _filled(text: str, braces: Sequence[_Braces], values: Sequence[str]) -> str:
    """Return the text with a value in place of each of the braces."""
    for one, value in reversed(list(zip(braces, values, strict=True))):
        text = text[: one.start] + value + text[one.end :]
    return text


def _braces(name: str, text: str) -> Iterator[_Braces]:
    """Yield the lists of values in a text, outermost only, from left to right."""
    place = 0
    while (start := text.find("{", place)) >= 0:
        parts = list(_parts(text, start))
        end = start + sum(map(len, parts)) + len(parts) + 1
        if end > len(text) or text[end - 1] != "}":
            raise PurebenchError(f"{name}: expected braces that are closed, but got {text!r}; add a closing brace.")
        place = end
        if any(":" in part for part in parts):  # a mapping
            continue
        found = PARAMETER.search(text[:start])
        values = tuple(part.strip() for part in parts)
        if found is None:
            raise PurebenchError(
                f"{name}: expected braces as the value of a parameter, such as t={{100, 150}}, but got {text!r}."
            )
        if len(values) < 2 or not all(values) or len(set(values)) < len(values):
            raise PurebenchError(
                f"{name}: expected at least two different values in the braces of {found[1]}, separated by commas, but "
                f"got {text[start:end]!r}."
            )
        yield _Braces(found[1], values, start, end)


def _parts(text: str, start: int) -> Iterator[str]:
    """Yield the texts between the commas of the braces that open at `start`, up to their end or that of the text."""
    depth, begin = 0, start + 1
    for place in range(start + 1, len(text)):
        letter = text[place]
        if depth == 0 and letter in ",}":
            yield text[begin:place]
            begin = place + 1
            if letter == "}":
                return
        depth += (letter in OPENING) - (letter in CLOSING)
    yield text[begin:]
