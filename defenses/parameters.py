"""Checks of the parameters of defenses."""

from __future__ import annotations

import math

from purebench.core.errors import PurebenchError


def require(name: str, good: bool, expected: str, **came: object) -> None:
    """Raise PurebenchError that states what was expected and what was given, unless the values are valid.

    Args:
        name: name of the defense, for the error message.
        good: whether the values are valid.
        expected: the expected values, for the error message.
        came: the given values by name, for the error message.

    Raises:
        PurebenchError: If not `good`.
    """
    if not good:
        values = ", ".join(f"{key}={value}" for key, value in came.items())
        raise PurebenchError(f"{name}: expected {expected}, but got {values}.")


def positive(who: str, name: str, value: float) -> float:
    """Return the value after checking that it is positive and finite.

    Args:
        who: name of the defense, for the error message.
        name: name of the parameter, for the error message.
        value: the value.

    Raises:
        PurebenchError: If the value is not a finite number above 0.
    """
    if not 0 < value < math.inf:
        raise PurebenchError(f"{who}: expected a finite {name} above 0, but got {value}.")
    return value
