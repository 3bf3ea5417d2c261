"""The search loop, on any function of alphas: first the seed points, then one proposal at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.alpha_spaces import find_space
from purebench.latents.tuning.trial import Trial
from purebench.statistics.design.propose import find_proposer

Measure = Callable[[Sequence[float]], float]
"""measure(alphas, coarse to fine) → the value to be maximised; the same alphas always give the same value."""


def search(
    measure: Measure,
    n: int,
    *,
    evaluations: int = 100,
    how: str = "gp",
    space: str = "full",
    seed: int = 0,
    minutes: float | None = None,
    before: Sequence[Trial] = (),
    keep: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Search for the n alphas in [0,1] that maximise `measure`.

    The largest of noisy values is biased upwards: evaluate the best few again before reporting them.

    Args:
        measure: The function to maximise.
        n: Number of latents.
        evaluations: Number of trials in all, those of `before` included.
        how: Name in PROPOSERS.
        space: Name in SPACES.
        seed: Decides the proposals.
        minutes: No trial begins after this time; None for no limit.
        before: Trials that an earlier run has made, which must be the first ones of this search.
        keep: Called with every new trial.

    Returns:
        All trials in the order in which they were made.

    Raises:
        PurebenchError: For an unknown name or a number out of range.
    """
    if n < 1 or evaluations < 1:
        raise PurebenchError(f"search: expected at least 1 latent and 1 evaluation, but got {n} and {evaluations}.")
    propose, where = find_proposer(how), find_space(space)
    axes, seeds, trials = where.axes(n), list(where.seeds(n).items()), list(before)
    known = {trial.alphas: trial.value for trial in trials}
    began = time.monotonic()
    while len(trials) < evaluations:
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            break
        number, start = len(trials), time.monotonic()
        name, point = seeds[number] if number < len(seeds) else ("", propose(trials, axes, seed))
        alphas = tuple(where.at(point, n))
        if alphas not in known:
            known[alphas] = measure(alphas)
        trial = Trial(number, point, alphas, known[alphas], name, round(time.monotonic() - start, 3))
        trials.append(trial)
        keep(trial)
    return trials


def best_few(trials: Sequence[Trial], count: int) -> list[Trial]:
    """Return the trials of the largest values, no list of alphas twice; of equals the earlier comes first.

    Args:
        trials: Trials in the order in which they were made.
        count: Number of trials to return at most.

    Returns:
        The trials, best first.
    """
    found: dict[tuple[float, ...], Trial] = {}
    for trial in sorted(trials, key=lambda trial: -trial.value):
        found.setdefault(trial.alphas, trial)
    return list(found.values())[:count]
