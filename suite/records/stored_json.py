"""Reads the JSON of a record in the layout that `Record.to_json` writes, several times faster than any JSON document.

The keys of that layout are sorted, so a record is cut at its keys, and each part is validated by the type of its
field. If every part is a complete JSON value, then the cuts are those of the whole document, because JSON is not
ambiguous. For a document in another layout, or with an invalid part, the answer is None: the caller then validates the
whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.versioned_model import MOST_DRAWS
from purebench.records.outcome import Outcome
from purebench.records.validation import MOST_STRINGS, outcomes_of

if TYPE_CHECKING:
    from purebench.records.record import Record

Reader = Callable[[str], Any]
"""A function of the JSON of a field that returns its value, and raises ValidationError, PurebenchError or KeyError."""

SHARED = (
    *("attack", "backwards", "block", "board", "control", "defense", "forwards", "images", "known_seeds", "labels"),
    *("notes", "picked", "provenance", "schema", "warnings"),
)
"""Fields that many records have in common: they are validated once, and their values, which must not be changed, are
shared."""
MOST_SHARED, LONGEST_SHARED = 1_024, 20_000
"""Largest number of different values of each of these fields that are kept, and their longest JSON in characters."""
LONGEST = 4_000_000
"""Characters of the longest document that is read in this way."""
SEPARATOR = '", "'
"""The characters between two strings of a list."""
OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def read_record(kind: type[Record], text: str) -> tuple[Record, bool] | None:
    """Read the JSON document of a record in the layout of `Record.to_json`, without a check for contradictions.

    Args:
        kind: the class of records.
        text: the document.

    Returns:
        The record, and True if it is known that all images are answered and that the outcomes agree with the draws;
            None if the document cannot be read in this way.
    """
    schema: Any = kind
    readers = _readers(schema)
    parts = _parts(text, _openings(schema)) if len(text) <= LONGEST else None
    if parts is None:
        return None
    try:
        given = dict(zip(readers, parts, strict=True))
        draws, outcomes, agree = _answers(readers, given.pop("draws"), given.pop("outcomes"))
        fields = {name: readers[name](part) for name, part in given.items()}
        return kind(**fields, draws=draws, outcomes=outcomes), agree
    except (ValidationError, PurebenchError, KeyError):
        return None


def _answers(
    readers: Mapping[str, Reader], draws_part: str, outcomes_part: str
) -> tuple[list[str], list[Outcome], bool]:
    """Return draws and outcomes, and whether the outcomes are those that the draws decide, which is read faster."""
    draws = readers["draws"](draws_part)
    try:
        decided = list(map(outcomes_of(len(draws[0])).__getitem__, draws)) if draws else []
    except KeyError:  # images without draws
        decided = []
    if decided and f'["{SEPARATOR.join(decided)}"]' == outcomes_part:
        return draws, decided, True
    return draws, readers["outcomes"](outcomes_part), False


def _parts(text: str, openings: tuple[str, ...]) -> list[str] | None:
    """Return the JSON behind each of these keys, in their order; None if a key is not found."""
    if not text.startswith(openings[0]) or text[-1] != "}":
        return None
    parts, start = [], len(openings[0])
    for opening in openings[1:]:
        stop = text.find("]", start) + 1 if text[start] == "[" else start
        if not text.startswith(opening, stop):  # not a list of plain values, so the next key is searched
            stop = text.find(opening, start)
            if stop < 0:
                return None
        parts.append(text[start:stop])
        start = stop + len(opening)
    parts.append(text[start:-1])
    return parts


@cache
def _openings(kind: Any) -> tuple[str, ...]:
    """Return the characters before the value of each field."""
    first, *others = _readers(kind)
    return (f'{{"{first}": ', *(f', "{name}": ' for name in others))


@cache
def _readers(kind: Any) -> dict[str, Reader]:
    """Return the reader of each field, in the order of the layout."""
    hints = {name: hint for name, hint in get_type_hints(kind, include_extras=True).items() if name[0] != "_"}
    made = {name: _reader(hint) for name, hint in sorted(hints.items())}
    made |= {name: _shared(made[name]) for name in SHARED}
    return made | {"draws": _draws(made["draws"]), "outcomes": _outcomes(made["outcomes"])}


def _reader(hint: Any) -> Reader:
    adapter: TypeAdapter[Any] = TypeAdapter(hint)
    is_list = get_origin(get_args(hint)[0] if get_origin(hint) is Annotated else hint) is list

    def read(part: str) -> Any:
        if is_list and part == "[]":
            return []
        if "{" in part:
            load_json(part)  # rejects duplicate keys, which pydantic accepts
        return adapter.validate_json(part, strict=True)

    return read


def _shared(reader: Reader) -> Reader:
    known = lru_cache(MOST_SHARED)(reader)
    return lambda part: known(part) if len(part) <= LONGEST_SHARED else reader(part)


class _KnownDraws(dict[str, str]):
    """Valid strings of draws, each once, so that equal strings are one object; KeyError for other strings."""

    def __missing__(self, draws: str) -> str:
        if draws.strip("01") or len(draws) > MOST_DRAWS:
            raise KeyError(draws)
        if len(self) >= MOST_STRINGS:
            self.clear()
        self[draws] = draws
        return draws


def _draws(other: Reader) -> Reader:
    """Return a reader of lists of draws, which validates each different string once."""
    known = _KnownDraws()

    def read(part: str) -> Any:
        if len(part) < 4 or part[:2] != '["' or part[-2:] != '"]':
            return other(part)
        try:
            return list(map(known.__getitem__, part[2:-2].split(SEPARATOR)))
        except KeyError:
            return other(part)

    return read


def _outcomes(other: Reader) -> Reader:
    """Return a reader of lists of outcomes."""

    def read(part: str) -> Any:
        if part[:2] != '["' or part[-2:] != '"]':
            return other(part)
        return list(map(OUTCOMES.__getitem__, part[2:-2].split(SEPARATOR)))

    return read
