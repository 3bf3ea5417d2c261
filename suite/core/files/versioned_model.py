"""Validated schemas: a strict pydantic model, shared field types, and reading of files that have a schema version.

A dataclass becomes a schema by `__pydantic_config__: ClassVar[ConfigDict] = STRICT`. `from_json` then validates its
input by the annotations of the fields; the constructor does not change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import shown
from purebench.core.files.validation_errors import sentence, told

T = TypeVar("T")

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""No value is converted, unknown keys are errors, and every number is finite."""
MOST_IMAGES = 10_000_000
MOST_DRAWS = 10_000
DEEPEST = 20
"""Most levels of a value that no schema describes further, such as an attack's parameters."""


class StrictModel(BaseModel):
    """The base of all schemas: frozen, strict, without unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value if JSON can represent it.

    Accepted are finite numbers below 2^63, text, lists, and mappings with text keys, with at most DEEPEST levels.

    Args:
        value: any value.
        depth: the level of the value inside an outer value.

    Raises:
        PydanticCustomError: JSON cannot represent the value.
    """
    if depth > DEEPEST:
        raise told(f"expected at most {DEEPEST} levels, but it is nested more deeply")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise told(f"expected text as a key, but got {shown(key)}")
            plain(inner, depth + 1)
    elif isinstance(value, list | tuple):
        for inner in value:
            plain(inner, depth + 1)
    else:
        _check_scalar(value)
    return value


def _check_scalar(value: Any) -> None:
    """Raise an error for a value that is neither null, true, false, a finite number below 2^63 nor text."""
    if isinstance(value, str):
        if not value.isascii() and any(0xD800 <= ord(letter) < 0xE000 for letter in value):
            raise told("expected text, but got half of a surrogate pair")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise told(f"expected finite numbers, but got {value}")
    elif isinstance(value, int):
        if abs(value) >= 2**63:
            raise told("expected whole numbers below 2^63, but got a larger one")
    elif value is not None:
        raise told(f"expected numbers, text, lists and mappings, but got {shown(value)}")


Plain = Annotated[Any, AfterValidator(plain)]
"""A value that no schema describes further."""
Line = Annotated[str, Field(max_length=1_000)]
"""Names, keys, hashes."""
Text = Annotated[str, Field(max_length=100_000)]
"""Reasons, notes."""
Whole = Annotated[int, Field(ge=0, lt=2**63)]
"""Counts, seeds."""
Position = Annotated[int, Field(ge=0, lt=2**31)]
"""Positions of images, labels, block numbers."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""Accuracies, p-values, levels."""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A sha256 in hexadecimal digits."""
Distance = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""Norms and seconds."""
DrawString = Annotated[str, Field(pattern=r"^[01]*$", max_length=MOST_DRAWS)]
"""Verification draws of one image: 1 (correct) and 0 (wrong); empty if there are none."""
Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*=?=?$", max_length=16 * 2**20)]
"""A small file in base64."""
BlockList = Annotated[list[T], Field(max_length=MOST_IMAGES), FailFast()]
"""A list with one value per image of a block."""
PerImage = Annotated[tuple[T, ...], Field(max_length=MOST_IMAGES), FailFast()]
"""A tuple with one value per image."""


def from_json(kind: type[T], text: str, *, version: int, cure: str) -> T:
    """Create an object of a dataclass or model from its JSON, which must have the key "schema".

    Args:
        kind: a dataclass with the configuration STRICT, or a StrictModel.
        text: the JSON.
        version: the version of the schema that `kind` describes.
        cure: how to replace a file of another version, for the message.

    Raises:
        PurebenchError: the JSON is of another version, or does not match the schema.
    """
    data = load_json(text)
    if isinstance(data, dict):
        require_version(data, version, cure)
    del data
    schema: Any = kind
    try:
        found: T = _adapter(schema).validate_json(text)
    except ValidationError as error:
        raise PurebenchError(sentence(error, kind)) from error
    return found


def from_plain(kind: type[T], data: Any, place: str = "") -> T:
    """Create an object of a model from plain Python values.

    Args:
        kind: the model or type.
        data: the plain values.
        place: the name of the whole in messages.

    Raises:
        PurebenchError: the values do not match the schema.
    """
    schema: Any = kind
    try:
        found: T = _adapter(schema).validate_python(data, strict=True)
    except ValidationError as error:
        raise PurebenchError(sentence(error, kind, place)) from error
    return found


def dumps_with_schema(value: Mapping[str, Any], version: int) -> str:
    """Serialize a mapping as JSON with its schema version; the order of keys is kept, as boards need."""
    return json.dumps({"schema": version, **value})


def require_version(data: Mapping[str, Any], version: int, cure: str) -> None:
    """Check that the data declare the expected version of their schema.

    Args:
        data: the plain values of a file.
        version: the expected version.
        cure: how to replace a file of another version, for the message.

    Raises:
        PurebenchError: the version is missing or another one.
    """
    if "schema" not in data:
        raise PurebenchError(f"expected schema {version}, but it has none, as in purebench 0.4.0 and before; {cure}.")
    found = data["schema"]
    if isinstance(found, bool) or not isinstance(found, int):
        raise PurebenchError(f"schema: expected {version}, but got {shown(found)}; {cure}.")
    if found != version:
        whose = "a later" if found > version else "an earlier"
        raise PurebenchError(
            f"expected schema {version}, but got {shown(found)}, which {whose} version of purebench wrote; {cure}."
        )


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
