"""Tests ranks against values computed by hand: order, ties, strongest attack, errors and costs."""

import random

import pytest

from purebench.records.outcome import Outcome
from purebench.results.ranking.rank import rank, ranked_results

E, S = Outcome.ERRORED, Outcome.SKIPPED


def rows(build, answers, **more):
    return rank(build.results(answers, **more)[2])


def counted(*right, images=4):
    """Returns answers of one draw per image for each attack; the first `right` images are right."""
    return {name: ["1"] * n + ["0"] * (images - n) for name, n in zip(("clean", "apgd"), right, strict=True)}


def test_rows_are_ordered_by_robust_accuracy_then_clean_accuracy_then_name(build):
    answers = {
        "d": counted(4, 1),
        "c": counted(3, 2),
        "a": counted(4, 2),
        "b": counted(4, 2),
        "e": counted(4, 4),
    }
    found = rows(build, answers)
    assert [row.name for row in found] == ["e", "a", "b", "c", "d"]
    assert [row.rank for row in found] == [1, 2, 2, 4, 5]  # a and b tie


def test_rows_of_equal_totals_share_a_rank_whatever_the_order_of_the_sum(build):
    """44 of 100 draws each; the means of the images' shares differ by 1e-16."""

    def drawn(*counts):
        return {"clean": ["1" * 10] * 10, "apgd": ["1" * one + "0" * (10 - one) for one in counts]}

    answers = {"a": drawn(8, 7, 9, 1, 3, 3, 0, 0, 3, 10), "b": drawn(8, 4, 8, 7, 1, 3, 6, 1, 4, 2)}
    found = rows(build, answers, draws=10, block=10)
    assert found[0].robust.value != found[1].robust.value
    assert [(row.name, row.rank) for row in found] == [("a", 1), ("b", 1)]


def test_the_order_of_the_results_does_not_matter(demo):
    shuffled = list(demo.results)
    random.Random(2).shuffle(shuffled)
    assert rank(shuffled) == rank(demo.results)


def test_statistically_indistinguishable_rows_share_a_letter_and_their_ranks(build):
    many = {
        "high": counted(100, 95, images=100),
        "near": counted(100, 90, images=100),
        "low": counted(100, 10, images=100),
    }
    found = rows(build, many, block=100)
    assert [(row.name, row.rank, row.ranks.text, row.ranks.letters) for row in found] == [
        ("high", 1, "1–2", "a"),
        ("near", 2, "1–2", "a"),
        ("low", 3, "3", "b"),
    ]


def test_an_attack_that_errored_on_every_image_is_not_the_strongest(build):
    """The attack is skipped on one block and errored on the other, so there is no image with a result."""
    answers = {"a": {"clean": ["1"] * 4, "apgd": [S, S, E, E]}, "b": counted(4, 2)}
    found = {row.name: row for row in rows(build, answers, block=2)}
    assert found["a"].strongest is None
    assert found["b"].strongest == "apgd"


def test_rows_with_errored_images_come_last_without_a_rank_and_with_the_reason(demo):
    *ranked, some, last = rank(demo.results)
    assert (some.name, some.rank, some.robust, some.errored) == ("diffpure-t0.15", None, None, some.result.errored)
    assert some.bounds[0].value < some.bounds[1].value
    assert last.name == "broken-checkpoint"
    assert (last.rank, last.clean, last.strongest, last.ranks) == (None, None, None, None)
    assert last.errored == 256
    assert last.reason.startswith("RuntimeError: size mismatch")
    assert [row.rank for row in ranked] == list(range(1, len(ranked) + 1))
    assert ranked[-1].robust.value == 0.0  # a defense with a robust accuracy of 0 is ranked


def test_cells_distinguish_skipped_from_errored_attacks(build):
    (row,) = rows(build, {"one": {"clean": list("1111"), "apgd": ["1", E, "0", "1"], "square": [S] * 4}})
    clean, apgd, square = row.cells
    assert (clean.estimate.value, clean.errored) == (1.0, 0)
    assert (apgd.estimate.value, apgd.errored, apgd.failed) == (0.5, 1, False)
    assert (square.estimate, square.errored) == (None, 0)
    assert row.errored == 1


@pytest.mark.parametrize(
    ("apgd", "square", "expected"),
    [
        (list("1000"), list("1100"), "apgd"),
        (list("1110"), list("1100"), "square"),
        ([E, E, E, "1"], list("1110"), "square"),  # 1 of 1 against 3 of 4: errored images are not counted
        ([E] * 4, list("1111"), "square"),
        ([S] * 4, list("1111"), "square"),
        ([E] * 4, [S] * 4, None),
        (list("1100"), list("0011"), "apgd"),  # ties go to the first attack on the board
    ],
)
def test_the_strongest_attack_has_the_lowest_accuracy_over_images_with_a_result(build, apgd, square, expected):
    (row,) = rows(build, {"one": {"clean": list("1000"), "apgd": apgd, "square": square}})
    assert row.strongest == expected  # never "clean", even if its accuracy is the lowest


def test_costs_are_summed_over_all_jobs(build):
    (row,) = rows(build, {"noisy": {"clean": ["1111"] * 4, "apgd": ["1011"] * 4}})
    assert row.cost.seconds == 4 * (12.5 + 2.0)  # two attacks, two blocks
    assert (row.cost.forwards, row.cost.backwards) == (80, 20)
    assert row.cost.draw_ms == pytest.approx(1000 * 4 * 2.0 / (2 * 4 * 4))


def test_the_time_of_a_draw_counts_both_passes_that_verify_a_deterministic_defense(build):
    (row,) = rows(build, {"fixed": {"clean": list("1111"), "apgd": list("1011")}})
    assert row.cost.draw_ms == pytest.approx(1000 * 4 * 2.0 / (2 * 2 * 4))


def test_a_defense_without_timings_has_no_cost_per_draw(build):
    (row,) = rows(build, {"gone": {"clean": [E] * 4}})
    assert row.cost.draw_ms is None


def test_no_results_have_no_rows():
    assert rank([]) == []


def test_rows_on_different_images_are_ordered_on_the_images_that_all_have(build):
    """`a` is right on 50 % of its 60 images; `b` on all of these, and on 30 % of its 200."""
    answers = {
        "a": {"clean": ["1"] * 60, "apgd": ["1", "0"] * 30},
        "b": {"clean": ["1"] * 200, "apgd": ["1"] * 60 + ["0"] * 140},
    }
    found = rows(build, answers, block=20)
    assert [(row.name, row.rank, row.ranks.text) for row in found] == [("b", 1, "1"), ("a", 2, "2")]
    assert [row.robust.value for row in found] == [0.3, 0.5]
    assert [one.name for one in ranked_results(row.result for row in found)] == ["b", "a"]
