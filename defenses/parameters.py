"""Checks of several parameters of a defense together; `purebench.core.parameters` checks each alone."""

from __future__ import annotations

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
