"""Checks of what a board gives an attack, before anything runs: PurebenchError with the parameter's name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from purebench.core.errors import PurebenchError, nearest

MOST = 10**6
"""The largest count: more steps than that are a slip, and would hardly end."""
COUNTS = (
    "batch_size",
    "binary_search_steps",
    "directions",
    "init_eval",
    "init_size",
    "initial_gradient_eval_steps",
    "max_eval",
    "max_gradient_eval_steps",
    "max_iter",
    "nb_parallel",
    "nb_restarts",
    "nb_steps",
    "num_trial",
    "population",
    "query_limit",
    "repeats",
    "sample_size",
    "steps",
    "sub_dim",
)
"""Parameters of libraries that count; with fewer than one most attacks return the image, and it looks robust."""
LENGTHS = (
    "abs_stepsize",
    "eps_step",
    "initial_stepsize",
    "learning_rate",
    "lr",
    "max_stepsize",
    "rel_stepsize",
    "step_size",
    "stepsize",
)
"""Parameters of libraries that are the length of a step; with zero nothing moves."""


def at_least_one(**values: object) -> None:
    """Raises PurebenchError for a value that is not a whole number from 1 to MOST."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PurebenchError(f"{name}: expected a whole number of at least 1, but got {value!r}.")
        if value > MOST:
            raise PurebenchError(f"{name}: expected a whole number of at most {MOST}, but got {value}.")


def a_number(
    name: str, value: object, low: float, high: float = MOST, *, above: bool = False, below: bool = False
) -> None:
    """Raises PurebenchError for a value that is not a number from `low` to `high`, so neither NaN nor infinity.

    above: `low` itself is not allowed; below: nor is `high`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        enough = low < value if above else low <= value
        if enough and (value < high if below else value <= high):
            return
    ends = f"{'(' if above else '['}{low},{high}{')' if below else ']'}"
    raise PurebenchError(f"{name}: expected a number in {ends}, but got {value!r}.")


def yes_or_no(**values: object) -> None:
    """Raises PurebenchError for a value that is neither true nor false."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise PurebenchError(f"{name}: expected true or false, but got {value!r}.")


def check_options(where: str, options: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]) -> None:
    """Checks the options of a library's attack against the parameters it `takes` from a board.

    Raises PurebenchError for an unknown name, a count below one, a step of no length, and a value that is no number, or
    neither true nor false, where the default is; whether it is a good one is for the library to say.
    """
    for key, value in options.items():
        if key not in takes:
            raise PurebenchError(f"{where}: the parameter {key!r} is unknown; {nearest(key, takes)}")
        default, name = takes[key].default, f"{where}: {key}"
        if value is None and default is None:
            continue
        if key in COUNTS:
            at_least_one(**{name: value})
        elif key in LENGTHS:
            a_number(name, value, 0, above=True)
        elif key == "candidates":  # classes, the own one included
            a_number(name, value, 2)
        elif isinstance(default, bool):
            yes_or_no(**{name: value})
        elif isinstance(default, int | float) or isinstance(value, float):
            a_number(name, value, -math.inf, math.inf, above=True, below=True)
