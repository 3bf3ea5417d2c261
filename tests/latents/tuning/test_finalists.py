"""Tests that values of the search are optimistic (winner's curse) and estimates on fresh images are not."""

from __future__ import annotations

import numpy as np

from purebench.latents.tuning import best_few, search
from purebench.latents.tuning.finalists import Candidate, ask_again, baselines, with_baselines

IMAGES, DRAWS = 40, 4


def test_the_search_is_optimistic_on_noise_and_fresh_images_are_unbiased():
    """Every list is right on half of its draws, so differences between lists are chance."""
    rng = np.random.default_rng(0)

    def bits(count):
        return rng.random((count, DRAWS)) < 0.5

    searched, chosen, fresh, covered = [], [], [], []
    for seed in range(60):
        trials = search(lambda alphas: float(bits(IMAGES).mean()), 3, evaluations=30, how="random", seed=seed)
        best = [Candidate(f"{t.number}", t.alphas, t.value) for t in best_few(trials, 2)]
        found = ask_again(with_baselines(best, 3), lambda what, alphas: (bits(2 * IMAGES), True), 3)
        searched.append(trials[0].value if not best else best[0].searched)
        chosen.append(found[0].chosen.value)
        fresh.append(found[0].robust.value)
        covered.append(found[0].robust.low <= 0.5 <= found[0].robust.high)
    error = (0.25 / (IMAGES * DRAWS) / 60) ** 0.5
    assert np.mean(searched) > 0.5 + 12 * error
    assert np.mean(chosen) > 0.5 + 4 * error  # picking the best of five is slightly optimistic as well
    assert abs(np.mean(fresh) - 0.5) < 3 * error
    assert np.mean(covered) > 0.9


def exact(levels):
    """Returns an ask() for lists that are right on exactly this share of the images, by their first alpha."""

    def ask(what, alphas):
        share = 1.0 if what == "clean" else levels[alphas[0]]
        return np.tile((np.arange(20) < 20 * share)[[*range(0, 20, 2), *range(1, 20, 2)], None], (1, 2)), True

    return ask


def test_the_winner_is_the_best_on_fresh_images():
    lucky, good = Candidate("lucky", (0.1, 1.0, 1.0), 0.9), Candidate("good", (0.2, 1.0, 1.0), 0.6)
    levels = {0.1: 0.3, 0.2: 0.8, 0.25: 0.4, 0.3333: 0.4, 1.0: 0.5}
    candidates = with_baselines([lucky, good], 3)
    found = ask_again(candidates, exact(levels), 3)
    assert [finalist.candidate.name for finalist in found] == ["good", "constant", "cosine", "linear", "lucky"]
    assert found[0].candidate.searched == 0.6
    assert found[0].robust.value == 0.8
    assert found[0].robust.n == 10
    assert found[0].clean.value == 1.0
    assert found[1].difference is None  # the best baseline
    assert found[0].difference is not None
    assert abs(found[0].difference.value - 0.3) < 1e-9


def test_a_baseline_among_the_best_is_listed_once_with_its_name_and_value():
    cosine = next(base for base in baselines(3) if base.name == "cosine")
    found = with_baselines([Candidate("gp full 7", cosine.alphas, 0.4), Candidate("x", (0.1, 0.2, 0.3), 0.3)], 3)
    assert [candidate.name for candidate in found] == ["cosine", "x", "linear", "constant"]
    assert found[0].searched == 0.4
    # two latents: cosine and linear are the same list
    assert [candidate.name for candidate in with_baselines([], 2)] == ["cosine", "constant"]
