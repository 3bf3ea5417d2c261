"""Tests of attack optimality against values computed by hand."""

from dataclasses import replace

import pytest

from purebench.records.outcome import Outcome
from purebench.results.grading.optimality import Optimality, global_optimality, optimality


def row_of(build, answers, **more):
    _, _, (own,) = build.results({"row": answers}, block=4, draws=len(answers["clean"][0]))
    return replace(own, **more)


def test_the_share_of_the_lost_accuracy_that_an_attack_takes_away(build):
    own = row_of(
        build, {"clean": ["1"] * 8, "apgd": ["0"] * 6 + ["1"] * 2, "square": ["1", "1", *["0"] * 2, *["1"] * 4]}
    )
    found = {one.attack: one for one in optimality(own)}
    assert found == {
        "apgd": Optimality("apgd", 1.0, None, 8),  # the best accuracy is 2/8
        "square": Optimality("square", pytest.approx(1 / 3), None, 8),
    }


def test_attacks_that_are_best_on_different_images_are_both_below_one(build):
    own = row_of(build, {"clean": ["1"] * 4, "apgd": ["0", "0", "0", "1"], "square": ["1", "1", "1", "0"]})
    assert [one.at_radius for one in optimality(own)] == [pytest.approx(3 / 4), pytest.approx(1 / 4)]


def test_the_areas_of_security_curves_agree_with_the_distances(build):
    answers = {"clean": ["1"] * 4, "apgd": ["0", "1", "1", "1"], "square": ["1"] * 4}
    own = row_of(build, answers)
    far, near = (0.1, 0.2, 0.4, None), (0.1, 0.3, 0.3, None)
    own = replace(
        own,
        attacks=(own.attacks[0], *(replace(a, nearest=d) for a, d in zip(own.attacks[1:], (far, near), strict=True))),
    )
    # the best distances are apgd's 16/255 for the first image, 0.2 and 0.3; the scale ends at 0.3
    best = (16 / 255 + 0.2 + 0.3 + 0.3) / 4
    areas = [(0.1 + 0.2 + 0.3 + 0.3) / 4, (0.1 + 0.3 + 0.3 + 0.3) / 4]
    assert [one.over_radii for one in optimality(own)] == [
        pytest.approx((0.3 - area) / (0.3 - best), rel=1e-6) for area in areas
    ]


def test_the_best_accuracy_of_a_random_row_is_that_on_fresh_draws_at_the_picks(build):
    draws = ["01", "10"] * 4  # each attack is right on half of the draws; their minimum draw by draw would be 0
    own = row_of(build, {"clean": ["11"] * 8, "apgd": draws, "square": draws[::-1]})
    assert own.robust.value == 0.5
    assert [one.at_radius for one in optimality(own)] == [1.0, 1.0]
    fresh = replace(own.worst_case, draws=("00",) * 8, outcomes=(Outcome.MISCLASSIFIED,) * 8)
    assert [one.at_radius for one in optimality(replace(own, worst_case=fresh))] == [0.5, 0.5]


def test_nothing_is_told_without_clean_images_and_in_a_cascade(build):
    own = row_of(build, {"clean": ["1"] * 4, "apgd": ["0"] * 4})
    assert optimality(replace(own, attacks=own.attacks[1:])) == ()
    assert optimality(replace(own, board=own.board | {"cascade": True})) == ()
    (untouched,) = optimality(row_of(build, {"clean": ["1"] * 4, "apgd": ["1"] * 4}))
    assert untouched.at_radius is None


def test_the_global_optimality_is_the_mean_over_rows():
    rows = [[Optimality("apgd", 1.0, None, 4), Optimality("square", None, None, 4)], [Optimality("apgd", 0.5, None, 4)]]
    assert global_optimality(rows) == {"apgd": 0.75}


def test_the_best_accuracy_counts_the_attacks_that_are_bespoke_to_the_row(build):
    own = row_of(build, {"clean": ["1"] * 8, "apgd": ["0"] * 2 + ["1"] * 6, "square": ["0"] * 4 + ["1"] * 4})
    attacks = {**own.board["attacks"], "square": {**own.board["attacks"]["square"], "rows": ["row"]}}
    common = replace(own.worst_case, draws=("0",) * 2 + ("1",) * 6, outcomes=own.attacks[1].outcomes)
    searched = replace(own, board={**own.board, "attacks": attacks}, worst_case=common, best_known=own.worst_case)
    assert searched.robust.value == 0.75
    found = {one.attack: one.at_radius for one in optimality(searched)}
    assert found == {"apgd": pytest.approx(0.5), "square": 1.0}  # apgd takes away 2 of the 4 images that can be broken
    assert {one.attack: one.at_radius for one in optimality(replace(searched, best_known=None))}["apgd"] == 1.0
