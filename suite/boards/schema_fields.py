"""Defines the types of the fields of a board.yaml: their validation, and their JSON schema for editors."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.core.files.validation_errors import told
from purebench.core.files.versioned_model import MOST_DRAWS, MOST_IMAGES, plain
from purebench.core.norms.norm_facts import NORM_NAMES
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel, parse_radius
from purebench.records.outcome import PICKED

BOARD_NAME = re.compile(r"[a-z0-9][a-z0-9-]*(@[0-9.e+-]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
"""Pattern of the names of attacks and defenses."""
MOST_ROWS = 1_000
LONGEST_SPEC = 2_000
LONGEST_TEXT = 20_000


def _board_name(value: Any) -> str:
    if not isinstance(value, str) or not BOARD_NAME.fullmatch(value):
        raise told(f"expected lower-case letters, digits and dashes, but got {shown(value)}")
    return value


def _named(value: Any) -> Any:
    """Return the mapping, if its keys are names; its values are validated later."""
    if not isinstance(value, dict) or not value:
        raise told(f"expected a mapping with at least one name, but got {shown(value)}")
    if len(value) > MOST_ROWS:
        raise told(f"expected at most {MOST_ROWS:,} names, but got {len(value):,}")
    for name in value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise told(f"expected names of letters, digits and . _ + -, but got {shown(name)}")
    return value


def _attack_names(value: Any) -> Any:
    if isinstance(value, dict) and (taken := [name for name in PICKED if name in value]):
        raise told(
            f"expected another name than {taken[0]!r}, which is reserved for the picked adversarial examples; "
            "rename the attack"
        )
    return value


def _spec(value: Any) -> Spec:
    if isinstance(value, str) and len(value) > LONGEST_SPEC:
        raise told(f"expected at most {LONGEST_SPEC:,} characters, but got {len(value):,}")
    if isinstance(value, dict):
        plain(value)
    try:
        spec = Spec.parse(value)
    except PurebenchError as error:
        raise told(str(error)) from error
    except (RecursionError, MemoryError) as error:  # raised by the parser for nested brackets
        raise told("expected key=value arguments, but they are nested too deeply") from error
    plain(spec.params)
    return spec


def _gradient(value: Any) -> str:
    return value if isinstance(_spec(value), Spec) and isinstance(value, str) else str(_spec(value))


def _title(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise told(f"expected text, but got {shown(value)}")
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise told(f"expected at most {LONGEST_TEXT:,} characters, but got {len(value):,}")
    return str(value)


def _radius(value: Any) -> str | float:
    """Return the radius as it is written. A long exponent would give a number that fills the memory."""
    if isinstance(value, str) and (len(value) > 40 or re.search(r"[eE][+-]?\d{4}", value)):
        raise told(f"expected a number or a fraction such as 8/255, but got {shown(value)}")
    if isinstance(value, bool):
        raise told(f"expected a number or a fraction such as 8/255, but got {shown(value)}")
    try:
        parse_radius(value)
    except PurebenchError as error:
        raise told(str(error).removeprefix("radius: ")) from error
    return value  # type: ignore[no-any-return]


def _norm(value: Any) -> str:
    try:
        return ThreatModel(value if isinstance(value, str) else shown(value), 1.0).norm
    except PurebenchError as error:
        raise told(str(error).removeprefix("norm: ")) from error


SPEC_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": LONGEST_SPEC},
        {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": {"type": ["object", "null"]},
        },
    ]
}
NAMES_SCHEMA: dict[str, Any] = {
    "minProperties": 1,
    "maxProperties": MOST_ROWS,
    "propertyNames": {"pattern": f"^{NAME.pattern}$"},
}

BoardName = Annotated[
    str, PlainValidator(_board_name), WithJsonSchema({"type": "string", "pattern": f"^{BOARD_NAME.pattern}$"})
]
SpecField = Annotated[Spec, PlainValidator(_spec), WithJsonSchema(SPEC_SCHEMA)]
"""A registered name, with or without parameters."""
Gradient = Annotated[str, PlainValidator(_gradient), WithJsonSchema(SPEC_SCHEMA)]
Title = Annotated[
    str,
    PlainValidator(_title),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": LONGEST_TEXT}, {"type": "number"}]}),
]
Norm = Annotated[str, PlainValidator(_norm), WithJsonSchema({"enum": list(NORM_NAMES)})]
RADIUS_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "maxLength": 40}]
}
Radius = Annotated[Any, PlainValidator(_radius), WithJsonSchema(RADIUS_SCHEMA)]
Named = BeforeValidator(_named)
NotWorstCase = BeforeValidator(_attack_names)
Draws = Annotated[int, Field(ge=1, le=MOST_DRAWS)]
Images = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
