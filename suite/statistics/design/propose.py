"""Proposes the next point of the unit cube: at random, or by the expected improvement under a Gaussian process.

A proposal depends only on the seed, its number and the trials before it: an interrupted search continues as if it had
not been interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.seeds import seed_of, seeded

Point = tuple[float, ...]
"""A point of the unit cube."""


class Tried(Protocol):
    """An evaluation of a search."""

    @property
    def point(self) -> Point:
        """The point, in [0,1]^k."""

    @property
    def value(self) -> float:
        """The value measured there, which is to be maximised."""


Proposer = Callable[[Sequence[Tried], Sequence[str], int], Point]
"""propose(trials so far, names of the coordinates, seed) → the next point in [0,1]^k."""


def at_random(trials: Sequence[Tried], axes: Sequence[str], seed: int) -> Point:
    """Propose a point that is uniform in the cube.

    Args:
        trials: Trials so far.
        axes: Names of the coordinates.
        seed: Seed of the search.

    Returns:
        The point.
    """
    return tuple(np.random.default_rng([seed % 2**32, len(trials)]).random(len(axes)).tolist())


def by_gaussian_process(trials: Sequence[Tried], axes: Sequence[str], seed: int) -> Point:
    """Propose the point of the largest expected improvement (in logarithms), by Optuna's GPSampler.

    Study and sampler are made anew from the trials each time.

    Args:
        trials: Trials so far.
        axes: Names of the coordinates.
        seed: Seed of the search.

    Returns:
        The point.

    Raises:
        PurebenchError: If optuna is not installed.
    """
    try:
        import optuna
        from optuna.distributions import FloatDistribution
    except ImportError as error:
        raise PurebenchError(
            "--search: gp needs Optuna, which is not installed; pip install 'purebench[tune]', or choose random."
        ) from error
    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it logs a line on every study and a hint on speed
    number = seed_of("gp", str(seed), str(len(trials))) % 2**32
    sampler = optuna.samplers.GPSampler(seed=number, n_startup_trials=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    cube = {axis: FloatDistribution(0.0, 1.0) for axis in axes}
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(zip(axes, trial.point, strict=True)), distributions=dict(cube), value=trial.value
        )
        for trial in trials
    )
    try:
        with seeded("gp", str(number)):
            asked = study.ask(dict(cube))
    finally:
        optuna.logging.set_verbosity(told)
    return tuple(float(asked.params[axis]) for axis in axes)


PROPOSERS: dict[str, Proposer] = {"gp": by_gaussian_process, "random": at_random}
"""Proposers by name."""


def find_proposer(name: str) -> Proposer:
    """Return the proposer of this name.

    Args:
        name: Name in PROPOSERS.

    Returns:
        The proposer.

    Raises:
        PurebenchError: If the name is unknown; the message names the nearest one.
    """
    if name not in PROPOSERS:
        raise PurebenchError(f"--search: {name!r} is unknown; {did_you_mean(name, PROPOSERS)}")
    return PROPOSERS[name]
