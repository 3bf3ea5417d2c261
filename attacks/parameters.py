"""Checks of what a board gives an attack, before anything runs: each raises PurebenchError with the parameter's name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from purebench.errors import PurebenchError, nearest

MOST = 10**6
"""The largest count: more steps than that are a slip, and would hardly end."""
ROUNDS = (
    "binary_search_steps",
    "init_eval",
    "initial_gradient_eval_steps",
    "max_eval",
    "max_gradient_eval_steps",
    "max_iter",
    "nb_restarts",
    "nb_steps",
    "num_trial",
    "repeats",
    "steps",
)
"""Parameters of libraries that count rounds; with fewer than one they return the image, and it looks robust."""


def at_least_one(**values: object) -> None:
    """Raises PurebenchError for a value that is not a whole number from 1 to MOST."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PurebenchError(f"{name}: expected a whole number of at least 1, but got {value!r}.")
        if value > MOST:
            raise PurebenchError(f"{name}: expected a whole number of at most {MOST:,}, but got {value}.")


def a_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Raises PurebenchError for a value that is not a finite number from `low` to `high`.

    above: `low` itself is not allowed; below: nor is `high`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        if (low < value if above else low <= value) and (value < high if below else value <= high):
            return
    raise PurebenchError(f"{name}: expected a finite number{_range(low, high, above, below)}, but got {value!r}.")


def _range(low: float, high: float, above: bool, below: bool) -> str:
    if low > -math.inf and high < math.inf:
        return f" in {'(' if above else '['}{low:g},{high:g}{')' if below else ']'}"
    if low > -math.inf:
        return f" {'above' if above else 'of at least'} {low:g}"
    return f" {'below' if below else 'of at most'} {high:g}" if high < math.inf else ""


def yes_or_no(**values: object) -> None:
    """Raises PurebenchError for a value that is neither true nor false."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise PurebenchError(f"{name}: expected true or false, but got {value!r}.")


def check_options(where: str, options: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]) -> None:
    """Checks the options of a library's attack against the parameters it `takes` from a board.

    Raises PurebenchError for an unknown name, a count of rounds below one, and a value that is no number, or neither
    true nor false, where the default is; whether the value is a good one is for the library to say.
    """
    for key, value in options.items():
        if key not in takes:
            raise PurebenchError(f"{where}: the parameter {key!r} is unknown; {nearest(key, takes)}")
        default = takes[key].default
        if key in ROUNDS:
            at_least_one(**{f"{where}: {key}": value})
        elif isinstance(default, bool):
            yes_or_no(**{f"{where}: {key}": value})
        elif isinstance(default, int | float) or isinstance(value, float):
            a_number(f"{where}: {key}", value)
