"""The search itself, on any function of alphas: seed points first, then what the proposer says, one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.alpha_spaces import find_space
from purebench.latents.tuning.propose import Trial, find_proposer

Measure = Callable[[Sequence[float]], float]
"""measure(alphas, coarse to fine) → the value to be made large; the same alphas always give the same value."""


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
    """Looks for the n alphas in [0,1] at which `measure` is largest; all trials in the order in which they were made.

    evaluations: trials in all, those of `before` counted, which an earlier run has made and which must be its first
    ones. how, space: names in PROPOSERS and SPACES. minutes: no trial begins after so many. keep: is told every new
    trial. The best of noisy values is too good to be true: ask the best few again before they are believed.
    Raises PurebenchError for an unknown name or a number out of range.
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
    """The trials of the largest values, the earlier of equals first, no list of alphas twice."""
    found: dict[tuple[float, ...], Trial] = {}
    for trial in sorted(trials, key=lambda trial: -trial.value):
        found.setdefault(trial.alphas, trial)
    return list(found.values())[:count]
