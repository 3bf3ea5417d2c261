"""The search: better than chance where there is something to find, decided by its seed, and able to go on."""

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
    """Largest, 0, at alphas of 0.2."""
    return -float(sum((alpha - 0.2) ** 2 for alpha in alphas))


def points(**options):
    return [trial.point for trial in search(hill, 2, evaluations=8, **options)]


@pytest.mark.parametrize("how", ["gp", "random"])
def test_the_seed_decides_a_search_and_another_changes_it(how):
    assert points(how=how, seed=3) == points(how=how, seed=3)
    assert points(how=how, seed=3) != points(how=how, seed=4)


@pytest.mark.parametrize("how", ["gp", "random"])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(how):
    whole = search(hill, 2, evaluations=9, how=how)
    for stop in (2, 7):
        assert search(hill, 2, evaluations=9, how=how, before=whole[:stop]) == whole


def test_seed_points_come_first_and_a_list_is_measured_once():
    asked = []

    def measure(alphas):
        asked.append(tuple(alphas))
        return 0.0

    trials = search(measure, 1, evaluations=5, how="random")
    assert [trial.name for trial in trials] == ["cosine", "linear", "half", "1-linear", "1-cosine"]
    assert [trial.alphas for trial in trials] == [(1.0,), (1.0,), (0.5,), (0.0,), (0.0,)]
    assert asked == [(1.0,), (0.5,), (0.0,)]


def test_a_gaussian_process_finds_the_top_of_a_hill():
    best = best_few(search(hill, 2, evaluations=14), 1)[0]
    assert best.value > -0.003
    assert best.value > best_few(search(hill, 2, evaluations=14, how="random"), 1)[0].value


def test_a_gaussian_process_beats_random_lists_of_a_purifier_whose_best_is_known(setting_of):
    """Given up entirely is what carries less than the radius; the rest counts by its signal beyond it."""
    bench = Bench(setting_of())
    best = robust(best_known())
    found = {}
    for how in ("gp", "random"):
        trials = search(bench.value, N, evaluations=22, how=how, seed=1)
        top = best_few(trials, 1)[0]
        found[how] = robust(top.alphas)  # of all images, not of those that were searched on
        assert found[how] <= best + 1e-9
    assert found["gp"] > found["random"]
    assert found["gp"] > best - 0.05
    assert max(robust(bench_list) for bench_list in ([0.0] * N, [0.5] * N, [1.0] * N)) < found["gp"]


def best_known():
    """The best list by a fine grid on the two latents that carry more than the radius; all others are given up."""
    grid = np.linspace(0, 1, 101)
    lists = [[a, b, *(1.0 for s in SIGNAL[2:] if s < EPS)] for a in grid for b in grid]
    return max(lists, key=robust)


def test_minutes_end_a_search_before_its_evaluations():
    assert search(hill, 2, evaluations=50, how="random", minutes=0) == []


def test_the_best_few_hold_no_list_twice_and_the_earlier_of_equals_first():
    trials = [
        Trial(i, (0.0,), alphas, value) for i, (alphas, value) in enumerate([((0.1,), 1), ((0.2,), 2), ((0.3,), 2)])
    ]
    again = [*trials, Trial(3, (0.0,), (0.2,), 2)]
    assert [trial.number for trial in best_few(again, 5)] == [1, 2, 0]


def test_without_optuna_the_cure_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(PurebenchError, match=r"pip install 'purebench\[tune\]'"):
        search(hill, 2, evaluations=8)
    assert len(search(hill, 2, evaluations=8, how="random")) == 8


@pytest.mark.parametrize("wrong", [{"how": "pg"}, {"space": "fulll"}, {"evaluations": 0}])
def test_what_cannot_be_searched_is_refused(wrong):
    with pytest.raises(PurebenchError):
        search(hill, 2, **wrong)
