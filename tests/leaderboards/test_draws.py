"""Tests the loss to attacks, resubmission curves and variance shares of a row against purebench.statistics."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from purebench.boards.board import Stop
from purebench.leaderboards.charts.draws import FRAME, draw_chart, loss, noise

from synthetic import merge  # isort: skip
from purebench.leaderboards.page import render
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.statistics import (
    clopper_pearson,
    paired_difference,
    resubmission_curve,
    variance_parts,
    vote_curve,
)

from reading import Page, words  # isort: skip


def drawn(rng, probabilities, draws):
    return ["".join("01"[int(one)] for one in rng.random(draws) < q) for q in probabilities]


@pytest.fixture(scope="module")
def noisy(build):
    """A random row with 12 draws and timed worst-case jobs: its board, records and results."""
    rng = np.random.default_rng(0)
    q = rng.beta(4, 1, 60)
    answers = {"clean": drawn(rng, q, 12), "apgd": drawn(rng, q**2, 12)}
    board, records, _ = build.results({"noisy": answers}, draws=12, block=60)
    timed = {"pick": 30.0, "verify": 12.0}
    records = [replace(one, seconds=timed) if one.attack == WORST_CASE else one for one in records]
    return board, records, merge(board, records)


def right(result):
    return np.stack([result.right(attack) for attack in result.attacks])


def test_the_loss_to_attacks_is_a_paired_difference(noisy):
    (result,) = noisy[2]
    found = loss(result)
    expected = paired_difference(right(result)[0].mean(axis=1), result.fresh.mean(axis=1))
    ends = (expected.value, expected.low, expected.high)
    assert (found.value, found.low, found.high) == pytest.approx(ends)
    assert (found.method, found.n) == ("paired-gaffke", 60)
    assert found.value > 0


def test_the_loss_of_a_deterministic_defense_is_a_share_of_images(build):
    answers = {"plain": {"clean": list("11110"), "apgd": list("10010")}}
    (result,) = build.results(answers, block=5)[2]
    assert loss(result) == clopper_pearson(2, 5)


def test_there_is_no_loss_without_clean_accuracy_or_attacks(build):
    for answers in ({"apgd": ["1"] * 4}, {"clean": ["1"] * 4}, {"clean": ["1"] * 4, "apgd": [Outcome.SKIPPED] * 4}):
        (result,) = build.results({"plain": answers})[2]
        assert loss(result) is None


def test_the_chart_agrees_with_resubmission_and_vote_curves(noisy):
    (result,) = noisy[2]
    chart = draw_chart("x", result)
    attacked, voted, clean, _ = chart.curves
    for curve, found in (
        (attacked, resubmission_curve(result.fresh[np.newaxis])),
        (voted, vote_curve(result.fresh[np.newaxis])),
        (clean, resubmission_curve(right(result)[:1])),
    ):
        assert [y for _, y in curve.points] == pytest.approx([FRAME.y(one.value) for one in found], abs=0.06)
        assert found[0].percent() in curve.told
        assert found[-1].percent() in curve.told
    assert [label for _, label in chart.ticks] == [str(n) for n in range(1, 13)]
    assert [x for x, _ in attacked.points] == [x for x, _ in chart.ticks]
    assert attacked.band.endswith("Z")


def test_variance_shares_are_those_of_the_fresh_draws(noisy):
    (result,) = noisy[2]
    found = noise(result)
    assert astuple(found.parts) == pytest.approx(astuple(variance_parts(result.fresh)))
    assert (found.images, found.draws) == (60, 12)
    assert [name for name, _ in found.shares] == ["images", "draws"]
    assert sum(share for _, share in found.shares) == pytest.approx(100)


def test_the_advised_cost_counts_all_jobs_per_image_and_scoring_per_draw(noisy):
    (result,) = noisy[2]
    found = noise(result).advice
    assert found.half_width <= result.robust.half_width / 2
    image = (sum(sum(attack.seconds.values()) for attack in result.attacks) + 30) / 60
    assert found.cost == pytest.approx(found.images * (image + found.draws * 12 / 60 / 12))


def test_a_deterministic_row_has_neither_chart_nor_variance_shares(build):
    (result,) = build.results({"plain": {"clean": ["1"] * 4, "apgd": list("1001")}})[2]
    assert draw_chart("x", result) is None
    assert noise(result) is None


def test_a_run_with_a_stopping_rule_uses_betting_sequences(build):
    rng = np.random.default_rng(1)
    answers = {"noisy": {"clean": drawn(rng, [0.9] * 60, 8), "apgd": drawn(rng, [0.5] * 60, 8)}}
    (result,) = build.results(answers, draws=8, block=20, stop=Stop(0.01))[2]
    assert loss(result).method == "paired-betting-sequence"
    expected = resubmission_curve(result.fresh[np.newaxis], method="betting-sequence")
    assert expected[0].percent() in draw_chart("x", result).curves[0].told


def test_the_page_shows_loss_chart_and_variance_shares(noisy):
    board, _, results = noisy
    text = words(Page(render(board, results, (), {})).all("article")[0][1])
    assert "points lost to the attacks, image by image" in text
    assert "Repeated queries" in text
    assert "60 images × 12 fresh draws" in text
    assert "To halve the interval" in text
