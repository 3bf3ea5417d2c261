"""Validates the attack parameters of a board before anything runs; error messages name the parameter."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

from purebench.core.errors import PurebenchError, nearest

MOST = 10**6
"""Largest allowed count: a larger number of steps is almost certainly a typing error, and would take too long to
run."""
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
"""Library parameters that are counts; with a count below 1 most attacks return the clean image, which would look
robust."""
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
"""Library parameters that are step lengths; with a step of zero the attack does not move."""


def at_least_one(**values: object) -> None:
    """Check that each value is a whole number from 1 to `MOST`.

    Args:
        **values: Values by parameter name.

    Raises:
        PurebenchError: If a value is not a whole number from 1 to `MOST`.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PurebenchError(f"{name}: expected a whole number of at least 1, but got {value!r}.")
        if value > MOST:
            raise PurebenchError(f"{name}: expected a whole number of at most {MOST}, but got {value}.")


def a_number(
    name: str, value: object, low: float, high: float = MOST, *, above: bool = False, below: bool = False
) -> None:
    """Check that a value is a number between `low` and `high`.

    Args:
        name: Name of the parameter, for the error message.
        value: The value to check.
        low: Lower bound.
        high: Upper bound.
        above: If True, `low` itself is not allowed.
        below: If True, `high` itself is not allowed.

    Raises:
        PurebenchError: If the value is not a number in this range; NaN and infinity never are.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        enough = low < value if above else low <= value
        if enough and (value < high if below else value <= high):
            return
    ends = f"{'(' if above else '['}{low},{high}{')' if below else ']'}"
    raise PurebenchError(f"{name}: expected a number in {ends}, but got {value!r}.")


def yes_or_no(**values: object) -> None:
    """Check that each value is a boolean.

    Args:
        **values: Values by parameter name.

    Raises:
        PurebenchError: If a value is neither True nor False.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise PurebenchError(f"{name}: expected true or false, but got {value!r}.")


def check_options(where: str, options: Mapping[str, Any], takes: Mapping[str, inspect.Parameter]) -> None:
    """Check the options of a library's attack against the parameters that it accepts from a board.

    Whether an accepted value is a good one is left to the library.

    Args:
        where: Prefix of the error messages, such as `art:HopSkipJump`.
        options: Options of the board, by name.
        takes: Parameters of the attack that a board may set, by name.

    Raises:
        PurebenchError: If a name is unknown, a count is below one, a step length is not above zero, or a value is not a
            number, or not True or False, where the default is.
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
        elif key == "candidates":  # number of classes, including the true one
            a_number(name, value, 2)
        elif isinstance(default, bool):
            yes_or_no(**{name: value})
        elif isinstance(default, int | float) or isinstance(value, float):
            a_number(name, value, -math.inf, math.inf, above=True, below=True)
