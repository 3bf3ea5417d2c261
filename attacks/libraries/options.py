"""Validates the options of a library's attack before anything runs; error messages name the parameter."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.parameters import MOST, Count, Positive, check_value

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


CANDIDATES = Annotated[float, Field(ge=2, le=MOST)]
"""Number of classes that are considered, including the true one."""


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
            raise PurebenchError(f"{where}: the parameter {key!r} is unknown; {did_you_mean(key, takes)}")
        default = takes[key].default
        if value is None and default is None:
            continue
        kind = _kind(key, value, default)
        if kind is not None:
            check_value(f"{where}: {key}", value, kind)


def _kind(key: str, value: object, default: object) -> Any:
    """Return the type of a library's parameter by its name, its default and a value for it; None for any type."""
    if key in COUNTS:
        return Count
    if key in LENGTHS:
        return Positive
    if key == "candidates":
        return CANDIDATES
    if isinstance(default, bool):
        return bool
    return float if isinstance(default, int | float) or isinstance(value, float) else None
