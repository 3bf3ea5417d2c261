"""Tests nearest distances and the verdicts of attacks against values computed by hand and against the records."""

import pytest

from purebench.results.distances import Reach, distance_text, nearest_distances, reach

from synthetic import merge  # isort: skip
from purebench.records.outcome import Outcome
from purebench.results.attack_claims import AttackClaim, attack_claim
from purebench.statistics import security_curve

E, S = Outcome.ERRORED, Outcome.SKIPPED


def result(build, rows, images=4, **more):
    """Returns the result of one defense from {attack: (answers, nearest, claims)}."""
    board = build.board(tuple(rows), ("one",), images, images, **more)
    records = [
        build.record(board, "one", attack, 0, answers, random=False, nearest=near, claims=claims)
        for attack, (answers, near, claims) in rows.items()
    ]
    return merge(board, records)[0]


def test_reach_of_a_minimum_norm_attack_counts_the_images_it_broke(build):
    found = result(
        build,
        {
            "clean": (list("1111"), [], []),
            "fmn": (list("0111"), [0.01, 0.3, None, 0.2], []),
            "cw": (["1", "1", E, S], [None, 0.4, None, None], []),
        },
    )
    assert [reach(attack) for attack in found.attacks] == [
        None,
        Reach(pytest.approx(0.25), 3, 4),
        Reach(None, 1, 2),  # found for one of two images, so the median is infinite
    ]


def test_nearest_is_the_smallest_distance_over_all_attacks(build):
    radius = 16 / 255
    found = nearest_distances(
        result(
            build,
            {
                "clean": (list("011111"), [], []),
                "fmn": (["0", "1", "0", "1", "1", "1"], [0.0, 0.3, 0.05, None, None, 0.2], []),
                "deepfool": (["0", "1", "1", "1", "1", E], [0.0, 0.2, 0.4, 0.5, None, None], []),
                "apgd": (list("001111"), [], []),
            },
            images=6,
        )
    )
    # wrong without an attack; broken by apgd only, within the radius; fmn; deepfool; none; errors are never robust
    assert found.distances == pytest.approx((0.0, radius, 0.05, 0.5, None, 0.0))
    assert (found.attacks, found.missing, found.errored, found.spared) == (("fmn", "deepfool"), 1, 1, 0)


def test_in_a_cascade_images_broken_earlier_keep_their_distance(build):
    answers = {"clean": (list("1111"), [], []), "apgd": (list("0011"), [], [])}
    answers["fmn"] = ([S, S, "1", "1"], [None, None, 0.2, None], [])
    found = nearest_distances(result(build, answers, cascade=True))
    assert found.distances == pytest.approx((16 / 255, 16 / 255, 0.2, None))
    assert (found.spared, found.missing) == (2, 1)


def test_an_image_that_every_attack_skipped_has_no_nearest_distance(build):
    answers = {"clean": (list("11"), [], []), "fmn": (["1", S], [0.2, None], [])}
    assert nearest_distances(result(build, answers, images=2)).distances == (0.2,)


@pytest.mark.parametrize("near", [[], [None, None]])
def test_without_a_minimum_norm_attack_there_is_no_curve(build, near):
    assert (
        nearest_distances(result(build, {"clean": (list("11"), [], []), "fmn": ([S, S], near, [])}, images=2)) is None
    )


def test_the_security_curve_at_the_radius_is_the_robust_accuracy_of_a_deterministic_defense(nearby):
    radius = nearby.board.threat.radius
    plain = [found for found in nearby.results if not found.random]
    assert len(plain) == 3
    for found in plain:
        assert security_curve(nearest_distances(found).distances, [radius]) == [found.robust]


@pytest.mark.parametrize(
    ("norm", "distance", "text"),
    [("linf", 8.7 / 255, "8.7/255"), ("l2", 0.034, "0.034"), ("l1", 12.34, "12.3"), ("l2", None, "∞")],
)
def test_distance_text_is_in_the_usual_units_of_the_norm(norm, distance, text):
    assert distance_text(norm, distance) == text


def test_a_verdict_of_the_attack_that_agrees_has_no_remark(build):
    (_, attack) = result(build, {"clean": (list("1111"), [], []), "apgd": (list("0111"), [], [1, 0, 0, 0])}).attacks
    assert attack_claim(attack) == AttackClaim(holding=3, asked=4, overclaimed=0, overlooked=0)
    assert attack_claim(attack).accuracy == 0.75
    assert attack_claim(attack).remark == ""


@pytest.mark.parametrize(
    ("claims", "remark"),
    [
        (
            [1, 1, 1, 0],
            "differs from the verification on 2 of 4 images: 2 claimed misclassified, but verified as robust",
        ),
        (
            [0, 0, 0, 0],
            "differs from the verification on 1 of 4 images: 1 claimed robust, but verified as misclassified",
        ),
        (
            [0, 1, 0, 0],
            ": 1 claimed misclassified, but verified as robust, 1 claimed robust, but verified as misclassified",
        ),
        ([None, 1, None, 0], "differs from the verification on 1 of 2 images: 1 claimed misclassified"),
    ],
)
def test_the_remark_on_a_differing_verdict_names_the_direction(build, claims, remark):
    (_, attack) = result(build, {"clean": (list("1111"), [], []), "apgd": (list("0111"), [], claims)}).attacks
    assert remark in attack_claim(attack).remark


def test_verdicts_on_errored_or_skipped_images_are_not_compared(build):
    (attack,) = result(build, {"apgd": (["0", E, S, "1"], [], [1, 1, None, 0])}).attacks
    assert attack_claim(attack) == AttackClaim(holding=1, asked=2, overclaimed=0, overlooked=0)


@pytest.mark.parametrize("rows", [(list("01"), [], []), (list("01"), [0.1, 0.2], [1, 1]), ([E, S], [], [1, None])])
def test_attacks_without_a_verdict_at_the_radius_are_not_compared(build, rows):
    """A minimum-norm attack claims images at any distance, which says nothing about the radius."""
    (attack,) = result(build, {"fmn": rows}, images=2).attacks
    assert attack_claim(attack) is None
