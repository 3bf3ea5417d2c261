"""Tests the search: it is better than random search, decided by its seed, and can be resumed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from purebench.core.errors import PurebenchError
from purebench.latents.tuning import Trial, best_few, search
from purebench.latents.tuning.bench import Bench

from linear_world import EPS, SIGNAL, robust  # isort: skip

N = len(SIGNAL)


def hill(alphas):
    """Has its maximum 0 at alphas of 0.2."""
    return -float(sum((alpha - 0.2) ** 2 for alpha in alphas))


def points(**options):
    return [trial.point for trial in search(hill, 2, evaluations=8, **options)]


@pytest.mark.parametrize("how", ["gp", "random"])
def test_the_seed_decides_a_search_and_another_seed_changes_it(how):
    assert points(how=how, seed=3) == points(how=how, seed=3)
    assert points(how=how, seed=3) != points(how=how, seed=4)


@pytest.mark.parametrize("how", ["gp", "random"])
def test_a_resumed_search_equals_an_uninterrupted_one(how):
    whole = search(hill, 2, evaluations=9, how=how)
    for stop in (2, 7):
        assert search(hill, 2, evaluations=9, how=how, before=whole[:stop]) == whole


def test_seed_points_come_first_and_equal_lists_are_measured_once():
    asked = []

    def measure(alphas):
        asked.append(tuple(alphas))
        return 0.0

    trials = search(measure, 1, evaluations=5, how="random")
    assert [trial.name for trial in trials] == ["cosine", "linear", "half", "1-linear", "1-cosine"]
    assert [trial.alphas for trial in trials] == [(1.0,), (1.0,), (0.5,), (0.0,), (0.0,)]
    assert asked == [(1.0,), (0.5,), (0.0,)]


def test_a_gaussian_process_finds_a_maximum_better_than_random_search():
    best = best_few(search(hill, 2, evaluations=14), 1)[0]
    assert best.value > -0.003
    assert best.value > best_few(search(hill, 2, evaluations=14, how="random"), 1)[0].value


def test_a_gaussian_process_gets_close_to_the_known_best_list(setting_of):
    """The optimal list resamples latents with a signal below the radius entirely; see linear_world.py."""
    bench = Bench(setting_of())
    best = robust(best_known())
    found = {}
    for how in ("gp", "random"):
        trials = search(bench.value, N, evaluations=22, how=how, seed=1)
        top = best_few(trials, 1)[0]
        found[how] = robust(top.alphas)  # over all images, not over those of the search
        assert found[how] <= best + 1e-9
    assert found["gp"] > found["random"]
    assert found["gp"] > best - 0.05
    assert max(robust(bench_list) for bench_list in ([0.0] * N, [0.5] * N, [1.0] * N)) < found["gp"]


def best_known():
    """Returns the best list by a fine grid over the two latents with more signal than the radius; the others are 1."""
    grid = np.linspace(0, 1, 101)
    lists = [[a, b, *(1.0 for s in SIGNAL[2:] if s < EPS)] for a in grid for b in grid]
    return max(lists, key=robust)


def test_a_search_ends_after_the_given_minutes():
    assert search(hill, 2, evaluations=50, how="random", minutes=0) == []


def test_best_few_has_no_duplicates_and_earlier_trials_first_on_ties():
    trials = [
        Trial(i, (0.0,), alphas, value) for i, (alphas, value) in enumerate([((0.1,), 1), ((0.2,), 2), ((0.3,), 2)])
    ]
    again = [*trials, Trial(3, (0.0,), (0.2,), 2)]
    assert [trial.number for trial in best_few(again, 5)] == [1, 2, 0]


def test_missing_optuna_is_reported_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PurebenchError, match=r"pip install 'purebench\[tune\]'"):
        search(hill, 2, evaluations=8)
    assert len(search(hill, 2, evaluations=8, how="random")) == 8


@pytest.mark.parametrize("wrong", [{"how": "pg"}, {"space": "fulll"}, {"evaluations": 0}])
def test_invalid_search_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError):
        search(hill, 2, **wrong)
