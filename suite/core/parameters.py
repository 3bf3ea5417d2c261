"""Checks the parameters of attacks and defenses by their annotations, such as `steps: Count = 40`, when one is made.

A parameter is checked if its type is a number, a truth value or text, with or without limits, or one of these and None.
Nothing is converted: the value stays as it was given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from purebench.core.arguments import KnownParameters
from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.core.files.validation_errors import Expected, sentence
from purebench.core.files.versioned_model import STRICT

P = ParamSpec("P")
R = TypeVar("R")

MOST = 10**6
"""Largest allowed count: a larger number of steps is almost certainly a typing error, and would take too long to
run."""
Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[float, Field(gt=0, le=MOST)]
NonNegative = Annotated[float, Field(ge=0, le=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
InnerShare = Annotated[float, Field(gt=0, lt=1)]
"""A share without both ends."""
Fraction = Annotated[float, Field(gt=0, lt=1), Expected("a fraction, such as 0.4 for 40 %")]
"""As `InnerShare`, in the words of settings."""


class CheckedParameters(KnownParameters):
    """Base of dataclasses whose constructor checks the fields by their annotations, and refuses unknown parameters."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            PurebenchError: a field is of another type or outside its limits.
        """
        check_fields(self)


def checked(where: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function or constructor check its arguments by their annotations; a decorator.

    Args:
        where: name of the attack or defense in messages; empty for none.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature, prefix = inspect.signature(function), f"{where}: " if where else ""

        @functools.wraps(function)
        def check_and_call(*args: P.args, **params: P.kwargs) -> R:
            kinds, given = _kinds(function), {}
            with contextlib.suppress(TypeError):  # the call below says which argument is missing or unknown
                given = signature.bind(*args, **params).arguments
            for name, value in given.items():
                if name in kinds:
                    check_value(f"{prefix}{name}", value, kinds[name])
            return function(*args, **params)

        return check_and_call

    return decorate


def check_arguments(where: str, make: Callable[..., Any], params: Mapping[str, object]) -> None:
    """Check the arguments of a function or class by its annotations; those that are not scalar are not checked.

    Args:
        where: name of the function in messages.
        make: the function or class.
        params: the arguments by name.

    Raises:
        PurebenchError: an argument is of another type than annotated.
    """
    annotated: Any = make.__init__ if inspect.isclass(make) and not dataclasses.is_dataclass(make) else make
    try:
        kinds = _kinds(annotated)
    except Exception:  # a third party may import a type for its type checker only
        return
    for name, value in params.items():
        if name in kinds:
            check_value(f"{where}: {name}", value, kinds[name])


def check_fields(made: Any, prefix: str = "") -> None:
    """Check the fields of a dataclass by their annotations.

    Args:
        made: the object.
        prefix: text before the name of a field in messages.

    Raises:
        PurebenchError: a field is of another type or outside its limits.
    """
    kinds = _kinds(made.__class__)
    for field in dataclasses.fields(made):
        if field.name in kinds:
            check_value(f"{prefix}{field.name}", getattr(made, field.name), kinds[field.name])


def check_value(name: str, value: object, kind: Any) -> None:
    """Check a value against a type such as `Count` or `Share | None`; a truth value or text is no number.

    Args:
        name: name of the value in messages.
        value: the value.
        kind: the type.

    Raises:
        PurebenchError: the value is of another type or outside the limits; NaN and infinity always are.
    """
    try:
        _adapter(kind).validate_python(value)
    except ValidationError as error:
        expected = _expected(kind, error.errors(include_url=False)[0]["type"])
        if expected:
            raise PurebenchError(f"{name}: expected {expected}, but got {shown(value)}.") from error
        raise PurebenchError(sentence(error, kind, name)) from error


def limits(kind: Any) -> str:
    """Return the limits of a type as an interval, such as "[1,1000000]" for `Count`; empty if it has none."""
    low, high = "(-inf", "inf)"
    for limit in _metadata(kind):
        low = f"[{limit.ge}" if hasattr(limit, "ge") else f"({limit.gt}" if hasattr(limit, "gt") else low
        high = f"{limit.le}]" if hasattr(limit, "le") else f"{limit.lt})" if hasattr(limit, "lt") else high
    return "" if (low, high) == ("(-inf", "inf)") else f"{low},{high}"


@functools.cache
def _kinds(made: Callable[..., Any]) -> dict[str, Any]:
    return {name: kind for name, kind in get_type_hints(made, include_extras=True).items() if _is_scalar(kind)}


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=STRICT)


def _is_scalar(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_scalar(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return all(map(_is_scalar, get_args(kind)))
    return get_origin(kind) is Literal or kind in (bool, int, float, str, NoneType)


def _expected(kind: Any, error: str) -> str:
    """Return the words for the values of a type with limits; empty where the words of pydantic's error are better."""
    found, interval = _metadata(kind), limits(kind)
    words = next((one.words for one in found if isinstance(one, Expected)), "")
    if words or not interval:
        return words
    if _is_float(kind):
        return f"a number in {interval}"
    least = next((one.ge for one in found if hasattr(one, "ge")), None)
    return f"a whole number of at least {least}" if error == "int_type" and least is not None else ""


def _is_float(kind: Any) -> bool:
    return kind is float or any(map(_is_float, get_args(kind)))


def _metadata(kind: Any) -> list[Any]:
    """Return what is annotated on a type or, for one of several types, on the first of them with annotations."""
    if get_origin(kind) is Annotated:
        each = [one.metadata if isinstance(one, FieldInfo) else [one] for one in get_args(kind)[1:]]
        return [limit for group in each for limit in group]
    if get_origin(kind) in (Union, UnionType):
        return next(filter(None, map(_metadata, get_args(kind))), [])
    return []
