"""Reads the JSON of a record in the layout that `Record.to_json` writes, several times faster than any JSON document.

The keys of that layout are sorted, so a record is cut at its keys, and each part is validated by the type of its
field. If every part is a complete JSON value, then the cuts are those of the whole document, because JSON is not
ambiguous. For a document in another layout, or with an invalid part, the answer is None: the caller then validates the
whole.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.versioned_model import MOST_DRAWS
from purebench.records.outcome import Outcome

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
MOST_STRINGS = 200_000
"""Largest number of different strings of draws that are remembered."""
OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def read_record(kind: type[Record], text: str) -> Record | None:
    """Return the record of a JSON document in the layout of `Record.to_json`; None if it cannot be read in this way.

    The record is not checked for contradictions.

    Args:
        kind: the class of records.
        text: the document.
    """
    schema: Any = kind
    readers = _readers(schema)
    parts = _parts(text, _openings(schema)) if len(text) <= LONGEST else None
    if parts is None:
        return None
    try:
        return kind(**{name: read(part) for (name, read), part in zip(readers.items(), parts, strict=True)})
    except (ValidationError, PurebenchError, KeyError):
        return None


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


def _draws(other: Reader) -> Reader:
    """Return a reader of lists of draws, which has no regular expression for each string."""
    known: dict[str, str] = {}

    def read(part: str) -> Any:
        if len(known) > MOST_STRINGS:
            known.clear()
        around = part.encode().translate(None, b"01")
        count = len(around) // 4
        if around != _quotes(count) or len(part) > MOST_DRAWS:
            return other(part)
        strings = part[2:-2].split('", "')
        if part[:2] != '["' or part[-2:] != '"]' or len(strings) != count:  # a digit outside of the quotes
            return other(part)
        return list(map(known.setdefault, strings, strings))  # equal strings are one object

    return read


@lru_cache(16)
def _quotes(count: int) -> bytes:
    """Return the JSON of a list of this many empty strings, at least one; empty for none."""
    return b"" if count == 0 else b'["' + b'", "' * (count - 1) + b'"]'


def _outcomes(other: Reader) -> Reader:
    """Return a reader of lists of outcomes."""

    def read(part: str) -> Any:
        if part[:2] != '["' or part[-2:] != '"]':
            return other(part)
        return list(map(OUTCOMES.__getitem__, part[2:-2].split('", "')))

    return read
