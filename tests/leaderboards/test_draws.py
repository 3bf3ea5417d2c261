"""Clean beside attacked, asked several times, and the noise: against the statistics' own functions."""

from dataclasses import astuple, replace

import numpy as np
import pytest

from purebench.board import Stop
from purebench.leaderboards.draws import FRAME, draw_chart, loss, noise
from purebench.leaderboards.merge import merge
from purebench.leaderboards.site import render
from purebench.records import Outcome
from purebench.statistics import (
    clopper_pearson,
    expected_half_width,
    paired_difference,
    resubmission_curve,
    robust_per_image,
    variance_parts,
    vote_curve,
)

from reading import Page, words  # isort: skip


def drawn(rng, probabilities, draws):
    return ["".join("01"[int(one)] for one in rng.random(draws) < q) for q in probabilities]


@pytest.fixture(scope="module")
def noisy(build):
    """A random row with 12 draws under two attacks, the second of which is run again as a third."""
    rng = np.random.default_rng(0)
    q = rng.beta(4, 1, 60)
    answers = {"clean": drawn(rng, q, 12), "apgd": drawn(rng, q**2, 12), "apgd-again": drawn(rng, q**2, 12)}
    names = tuple(answers)
    board = build.board(names, ("noisy",), images=60, block=60, draws=12)
    again = replace(board.attacks[1], name="apgd-again")
    board = replace(board, attacks=(*board.attacks[:2], again))
    records = [build.record(board, "noisy", name, 0, answers[name]) for name in names]
    return board, records, merge(board, records)


def right(result):
    return np.stack([result.right(attack) for attack in result.attacks])


def test_the_loss_is_paired(noisy):
    (result,) = noisy[2]
    table = right(result)
    found, expected = loss(result), paired_difference(table[0].mean(axis=1), robust_per_image(table))
    ends = (expected.value, expected.low, expected.high)
    assert (found.value, found.low, found.high) == pytest.approx(ends)
    assert (found.method, found.n) == ("paired-gaffke", 60)
    assert found.value > 0


def test_a_deterministic_loss_is_a_share_of_images(build):
    answers = {"plain": {"clean": list("11110"), "apgd": list("10010")}}
    (result,) = build.results(answers, block=5)[2]
    assert loss(result) == clopper_pearson(2, 5)


def test_there_is_no_loss_without_clean_images_or_without_attacks(build):
    for answers in ({"apgd": ["1"] * 4}, {"clean": ["1"] * 4}, {"clean": ["1"] * 4, "apgd": [Outcome.SKIPPED] * 4}):
        (result,) = build.results({"plain": answers})[2]
        assert loss(result) is None


def test_the_chart_passes_where_the_curves_are(noisy):
    (result,) = noisy[2]
    chart = draw_chart("x", result)
    attacked, voted, clean, _ = chart.curves
    for curve, found in (
        (attacked, resubmission_curve(right(result))),
        (voted, vote_curve(right(result))),
        (clean, resubmission_curve(right(result)[:1])[:6]),
    ):
        assert [y for _, y in curve.points] == pytest.approx([FRAME.y(one.value) for one in found], abs=0.06)
        assert found[0].percent() in curve.told
        assert found[-1].percent() in curve.told
    assert [label for _, label in chart.ticks] == ["1", "2", "3", "4", "5", "6"]
    assert [x for x, _ in attacked.points] == [x for x, _ in chart.ticks]
    assert attacked.band.endswith("Z")


def test_attacks_that_are_the_same_but_for_their_names_are_restarts(noisy):
    (result,) = noisy[2]
    found = noise(result, "apgd")
    answers = np.moveaxis(right(result)[1:], 0, 1)
    assert astuple(found.parts) == pytest.approx(astuple(variance_parts(answers)))
    assert found.restarts == 2
    assert [name for name, _ in found.shares] == ["images", "restarts of the attack", "draws"]
    assert sum(share for _, share in found.shares) == pytest.approx(100)
    alone = noise(result, "clean")
    assert (alone.restarts, [name for name, _ in alone.shares]) == (1, ["images", "draws"])


def test_the_advice_halves_the_interval(noisy):
    (result,) = noisy[2]
    found = noise(result, "apgd")
    half = result.robust.half_width / 2
    assert found.advice.half_width <= half
    expected = expected_half_width(found.parts, found.advice.images, found.advice.draws)
    assert expected == pytest.approx(found.advice.half_width)
    seconds = sum(sum(attack.seconds.values()) for attack in result.attacks) / 60
    asked = sum(attack.seconds["verify"] for attack in result.attacks) / 60 / 12
    cost = found.advice.images * (seconds - 12 * asked + found.advice.draws * asked)
    assert found.advice.cost == pytest.approx(cost)


def test_a_deterministic_row_has_neither_chart_nor_noise(build):
    (result,) = build.results({"plain": {"clean": ["1"] * 4, "apgd": list("1001")}})[2]
    assert draw_chart("x", result) is None
    assert noise(result, "apgd") is None


def test_a_stopped_run_has_sequences_everywhere(build):
    rng = np.random.default_rng(1)
    answers = {"noisy": {"clean": drawn(rng, [0.9] * 60, 8), "apgd": drawn(rng, [0.5] * 60, 8)}}
    (result,) = build.results(answers, draws=8, block=20, stop=Stop(0.01))[2]
    table = right(result)
    assert loss(result).method == "paired-betting-sequence"
    expected = resubmission_curve(table, method="betting-sequence")
    assert expected[0].percent() in draw_chart("x", result).curves[0].told
    before = robust_per_image(table[:, :20], in_order=True)
    assert (robust_per_image(table, in_order=True)[:20] == before).all()  # more images change no score


def test_the_page_shows_them(noisy):
    board, _, results = noisy
    text = words(Page(render(board, results, (), {})).all("article")[0][1])
    assert "points that attacks take, image by image" in text
    assert "Asked several times" in text
    assert "60 images × 2 restarts × 12 draws" in text
    assert "To halve the interval" in text
