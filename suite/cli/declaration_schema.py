"""Validates the declared properties of a defense, where they come from a file of another package."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from purebench.cli.declaration import Declaration, Varies
from purebench.core.errors import PurebenchError
from purebench.core.files.validation_errors import Expected
from purebench.core.files.versioned_model import StrictModel, Whole, from_plain

Count = Annotated[Whole | Varies, Expected("a whole number (or varies)")]
Words = Annotated[str, Field(pattern=r"\S"), Expected("words (or varies)")]


class DeclarationSchema(StrictModel):
    """The types and ranges of the fields of a `Declaration`."""

    random: Annotated[bool | Varies, Expected("true, false (or varies)")]
    gradient: Literal["exact", "zero", "none", "varies"]
    surrogate: Words
    forwards: Count
    licence: Words
    source: Words
    passes: Count = 1
    ms: Annotated[Annotated[float, Field(gt=0)] | Varies | None, Expected("milliseconds above 0 (or varies)")] = None


def validated(name: str, facts: Any) -> Declaration:
    """Return a declaration.

    Args:
        name: The defense, which an error names.
        facts: The mapping of the file.

    Raises:
        PurebenchError: For an unknown, missing or mistyped key.
    """
    try:
        return Declaration(**from_plain(DeclarationSchema, facts).model_dump())
    except PurebenchError as error:
        raise PurebenchError(f"{name}: {error}") from error
