"""Which point of the cube to ask next: drawn at random, or where a Gaussian process expects the most.

A proposal depends on the seed, its number and the trials before it, and on nothing else: a search that was killed goes
on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from purebench.core.errors import PurebenchError, nearest
from purebench.core.seeds import seed_of, seeded
from purebench.defenses.mlvgm.alpha_spaces import Point


@dataclass(frozen=True)
class Trial:
    """One evaluation: the point asked, its alphas before the attenuation, and the value found there.

    name: of a seed point, else empty. seconds: what it took.
    """

    number: int
    point: Point
    alphas: tuple[float, ...]
    value: float
    name: str = ""
    seconds: float = field(default=0.0, compare=False)


Proposer = Callable[[Sequence[Trial], Sequence[str], int], Point]
"""propose(trials so far, names of the coordinates, seed) → the next point in [0,1]^k."""


def at_random(trials: Sequence[Trial], axes: Sequence[str], seed: int) -> Point:
    """Uniform in the cube; it is what the paper calls grid search."""
    return tuple(np.random.default_rng([seed % 2**32, len(trials)]).random(len(axes)).tolist())


def by_gaussian_process(trials: Sequence[Trial], axes: Sequence[str], seed: int) -> Point:
    """The largest expected improvement (in logarithms) under a Gaussian process, by Optuna's GPSampler.

    Study and sampler are made anew from the trials each time. Raises PurebenchError if optuna is not installed.
    """
    try:
        import optuna
        from optuna.distributions import FloatDistribution
    except ImportError as error:
        raise PurebenchError(
            "--search: gp needs Optuna, which is not installed; pip install 'purebench[tune]', or take random."
        ) from error
    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a line on every study, and on how to make it quicker
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
"""The ways of searching, by name."""


def find_proposer(name: str) -> Proposer:
    """The way of searching of this name. Raises PurebenchError naming the nearest."""
    if name not in PROPOSERS:
        raise PurebenchError(f"--search: {name!r} is unknown; {nearest(name, PROPOSERS)}")
    return PROPOSERS[name]
