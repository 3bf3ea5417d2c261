"""Turns pydantic's validation errors into one sentence: the place, what was expected, and what was given."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from purebench.core.errors import did_you_mean
from purebench.core.files.text import shown


@dataclasses.dataclass(frozen=True)
class Expected:
    """The values of a field in the words of an error message, in place of pydantic's: `Annotated[float, Expected(…)]`.

    Attributes:
        words: completes "expected …".
    """

    words: str


def told(text: str) -> PydanticCustomError:
    """Return a validator's error with this sentence as its message; the middle of a long sentence is left out."""
    text = text if len(text) <= 500 else f"{text[:350]} … {text[-100:]}"
    return PydanticCustomError("told", "{text}", {"text": text})


def sentence(error: ValidationError, kind: Any, place: str = "") -> str:
    """Return the first validation error as one sentence: the place, what was expected, and what was given.

    Unknown keys come first, because they are often typing errors that explain missing keys.

    Args:
        error: pydantic's error.
        kind: the model or type that was validated.
        place: the name of the whole in messages.
    """
    found = error.errors(include_url=False)
    unknown = [one for one in found if one["type"] in UNKNOWN]
    return _sentence((unknown or found)[0], kind, place)


UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "float_type": "a number",
    "finite_number": "a finite number",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters",
    "too_long": "at most {max_length} values",
    "greater_than_equal": "a number of at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "a number of at most {le}",
    "less_than": "a number below {lt}",
}
"""The expected value, by the type of pydantic's error."""


def _sentence(error: ErrorDetails, kind: Any, place: str) -> str:
    loc, sort, value = error["loc"], error["type"], error["input"]
    names, expected, field = _known(kind, loc)
    where = _dotted(field) or place
    if sort in UNKNOWN:
        where, key = _dotted(loc[:-1]) or place, str(loc[-1])
        said = f"the key {shown(key)} is unknown; {did_you_mean(key[:100], names)}"
    elif sort in MISSING:
        where = _dotted(loc[:-1]) or place
        said = f"expected the key {shown(str(loc[-1]))}, but it is missing."
    elif sort == "told":
        said = error["ctx"]["text"]
        said = said if said.endswith((".", "?")) else f"{said}."
    elif sort in ("literal_error", "enum") and (options := re.findall(r"'([^']*)'", error["ctx"]["expected"])):
        said = f"{shown(value)} is unknown; {did_you_mean(str(value)[:100], options)}"
    elif sort == "json_invalid":
        said = f"expected JSON, but {error['ctx']['error']}."
    else:
        if sort in ("model_type", "model_attributes_type", "dataclass_type"):
            expected = f"a mapping with {', '.join(sorted(names))}"
        usual = EXPECTED.get(sort, error["msg"].removeprefix("Input should be ")).format(**error.get("ctx", {}))
        usual = usual.replace("a number", "a whole number", 1) if isinstance(value, int) else usual
        said = f"expected {expected or usual}, but got {shown(value)}."
    return f"{where}: {said}" if where else said


def _dotted(loc: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:100]}" for part in loc)
    return text.removeprefix(".")


def _known(kind: Any, loc: tuple[int | str, ...]) -> tuple[list[str], str, tuple[int | str, ...]]:
    """Return the keys of the schema at a place within another, the `Expected` words of the field there, and its place.

    Behind a field with such words, pydantic's place goes on with the types of a union.
    """
    schema, expected, field = kind, "", loc
    for number, part in enumerate(loc, 1):
        fields = _fields(schema)
        if part in fields:
            schema, expected = fields[str(part)]
            schema, field = _schema_in(schema), loc[:number] if expected else loc
    return list(_fields(schema)), expected, field


def _fields(kind: Any) -> dict[str, tuple[Any, str]]:
    """Return the annotation and the `Expected` words of each field of a schema, by the field's name in a file."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        each: dict[str, FieldInfo] = kind.model_fields
        return {info.alias or name: (info.annotation, _words(info.metadata)) for name, info in each.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {
            name: (hint, _words(getattr(hint, "__metadata__", ()))) for name, hint in hints.items() if name[0] != "_"
        }
    return {}


def _words(metadata: Iterable[Any]) -> str:
    return next((one.words for one in metadata if isinstance(one, Expected)), "")


def _schema_in(annotation: Any) -> Any:
    """Return the first schema within an annotation such as dict[str, Model]."""
    if _fields(annotation):
        return annotation
    inner = (_schema_in(part) for part in get_args(annotation))
    return next((part for part in inner if part is not None), None)
