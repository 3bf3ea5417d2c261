"""Parses JSON and rejects mistakes that `json` accepts: duplicate keys, NaN, and documents too large for the memory."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown

MOST_BYTES = 200 * 2**20
"""Size of the largest JSON file that is read."""
MOST_VALUES = 4_000_000
"""Most values of one document: each takes about eighty bytes of memory."""
MOST_KEYS = 10_000
"""Most keys of one object."""


def load_json(text: str) -> Any:
    """Parse a JSON document into plain values.

    Raises:
        PurebenchError: it is not JSON, contains NaN or infinity, has a duplicate key, or is too large or too deeply
            nested.
    """
    if len(text) > MOST_VALUES and sum(text.count(mark) for mark in ",:[{") > MOST_VALUES:
        raise PurebenchError(f"expected at most {MOST_VALUES:,} values, but there are more.")
    try:
        return json.loads(text) if text.startswith("\ufeff") else DECODER.decode(text)
    except RecursionError as error:
        raise PurebenchError("expected JSON, but it is nested too deeply.") from error
    except ValueError as error:
        reason = "a whole number has too many digits" if "set_int_max_str_digits" in str(error) else error
        raise PurebenchError(f"expected JSON, but {reason}.") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise PurebenchError(f"expected each key once, but got {shown(twice)} twice; remove one.")
    if len(made) > MOST_KEYS:
        raise PurebenchError(f"expected at most {MOST_KEYS:,} keys in one object, but got {len(made):,}.")
    return made


def _constant(name: str) -> NoReturn:
    raise PurebenchError(f"expected finite numbers, but got {name}.")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
