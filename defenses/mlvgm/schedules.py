"""Alpha schedules: how much of each latent is resampled, from coarse (kept) to fine (replaced).

A schedule is a function of the number of latents that does not depend on a model (the paper's a_i for i = 1..n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.defenses.mlvgm.alpha_spaces import cosine, linear


def constant(n: int) -> list[float]:
    """Return a_i = 1, so that the attenuation alone decides."""
    return [1.0] * n


SCHEDULES: dict[str, Callable[[int], list[float]]] = {
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
}


LEARNED = Path(__file__).with_name("learned.yaml")
"""Lists found by a search, by the model: alphas, attenuation, and the command that found them."""


def learned(model: str, found: Path | None = None) -> tuple[list[float], float]:
    """Return the list of alphas that a search found for a bundled model, and the attenuation used with it.

    Args:
        model: name of the bundled weights.
        found: the file to read; None for the shipped one.

    Raises:
        PurebenchError: If there is no list for this model.
    """
    lists = yaml.safe_load((found or LEARNED).read_text(encoding="utf-8")) or {}
    if model not in lists:
        raise PurebenchError(
            f"schedule: no list was learned for {model!r}; {did_you_mean(model, lists)} Search for one with "
            "`purebench tune`, and pass what it finds as the schedule (schedule=[…])."
        )
    return list(lists[model]["alphas"]), float(lists[model]["attenuation"])


def alphas(schedule: str | Sequence[float], n: int, attenuation: float) -> list[float]:
    """Return the n effective alphas in [0,1]: the values of a schedule times the attenuation.

    Args:
        schedule: name of a schedule, or a list of n alphas in [0,1].
        n: number of latents.
        attenuation: factor on all alphas, in [0,1].

    Raises:
        PurebenchError: If the name is unknown, the list has another length, or a value is not a number in [0,1].
    """
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise PurebenchError(f"schedule: {schedule!r} is unknown; {did_you_mean(schedule, SCHEDULES)}")
        values = SCHEDULES[schedule](n)
    else:
        try:
            values = [float(value) for value in schedule]
        except (TypeError, ValueError) as error:
            raise PurebenchError(f"schedule: expected a name or a list of numbers, but got {schedule!r}.") from error
    if len(values) != n:
        raise PurebenchError(f"schedule: expected {n} alphas, one a latent, but got {len(values)}.")
    if not all(0 <= value <= 1 for value in [*values, attenuation]):
        raise PurebenchError(f"schedule: expected alphas and attenuation in [0,1], but got {values} × {attenuation}.")
    return [attenuation * value for value in values]
