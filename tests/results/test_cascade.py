"""A cascade: robust accuracy is what it is without one, and the accuracies of single attacks are conditional."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.results.distances import nearest

from synthetic import merge  # isort: skip
from purebench.records.outcome import Outcome
from purebench.results.ranking.rank import rank
from purebench.statistics import clopper_pearson

E, S = Outcome.ERRORED, Outcome.SKIPPED
ATTACKS = ("clean", "apgd", "square", "autoattack")
TABLES = st.integers(1, 6).flatmap(
    lambda images: st.lists(st.lists(st.sampled_from("01"), min_size=images, max_size=images), min_size=1, max_size=4)
)


def both(build, answers, **more):
    """The result of one defense without a cascade and with one."""
    (plain,) = build.results({"one": answers}, **more)[2]
    (spared,) = build.results({"one": build.cascaded(answers)}, cascade=True, **more)[2]
    return plain, spared


@given(table=TABLES)
@settings(max_examples=60)
def test_robust_accuracy_of_a_deterministic_defense_is_the_same(build, table):
    answers = dict(zip(ATTACKS, table, strict=False))
    plain, spared = both(build, answers)
    assert spared.robust == plain.robust
    assert spared.clean == plain.clean
    asked = range(len(table[0]))
    for attack, right in zip(spared.attacks, table, strict=False):
        left = [right[image] for image in asked]
        assert spared.accuracy(attack) == (clopper_pearson(left.count("1"), len(left)) if left else None)
        assert spared.spared(attack).sum() == len(table[0]) - len(left)
        asked = [image for image in asked if right[image] == "1"]


def test_robust_accuracy_of_a_random_defense_is_the_same_where_no_pick_ties(build):
    answers = {
        "clean": ["1111", "1111", "1111", "0000"],
        "apgd": ["0000", "1101", "1111", "0000"],
        "square": ["0000", "0100", "1010", "0000"],
    }
    plain, spared = both(build, answers)
    assert spared.robust == plain.robust
    assert spared.robust.value == pytest.approx((0 + 0.25 + 0.5 + 0) / 4)
    # square was asked about two images of four
    assert spared.accuracy(spared.attacks[2]).n == 2
    assert plain.accuracy(plain.attacks[2]).n == 4


def test_an_image_that_is_right_on_one_draw_is_not_spared(build):
    _, spared = both(build, {"clean": ["1111"] * 2, "apgd": ["0001", "0000"], "square": ["0000", "0000"]})
    assert [list(spared.spared(attack)) for attack in spared.attacks] == [[False, False], [False, False], [False, True]]
    assert spared.attacks[1].outcomes == (Outcome.MISCLASSIFIED, Outcome.MISCLASSIFIED)


def test_the_strongest_attack_is_the_one_that_broke_the_most(build):
    answers = {"clean": list("11111"), "apgd": list("00011"), "square": list("11100")}
    plain, spared = both(build, answers, block=5)
    (row,) = rank([spared])
    _, apgd, square = row.cells
    assert (apgd.estimate.value, square.estimate.value) == (0.4, 0.0)  # square's is over two images
    assert (apgd.spared, square.spared, square.estimate.n) == (0, 3, 2)
    assert row.strongest == "apgd"
    assert rank([plain])[0].strongest == "apgd"
    assert rank([both(build, {**answers, "apgd": list("10111")}, block=5)[1]])[0].strongest == "square"


@pytest.mark.parametrize(
    ("apgd", "square", "expected"),
    [
        ([E] * 4, list("1110"), "square"),
        (list("1111"), list("1111"), "apgd"),  # the first of the board's order where they are equal
        (list("0000"), [S] * 4, "apgd"),
        ([E] * 4, [S] * 4, None),
    ],
)
def test_the_strongest_attack_of_odd_cascades(build, apgd, square, expected):
    _, _, (found,) = build.results(
        {"one": {"clean": list("1111"), "apgd": apgd, "square": square}}, cascade=True, block=4
    )
    assert rank([found])[0].strongest == expected


def test_an_errored_image_is_not_spared_and_never_counts_as_robust(build):
    _, spared = both(build, {"clean": list("111"), "apgd": [E, "0", "1"], "square": list("011")}, block=3)
    assert list(spared.spared(spared.attacks[2])) == [False, True, False]
    assert spared.bounds is None
    assert spared.robust.value == pytest.approx(1 / 3)  # square broke the image on which apgd ERRORED


def test_an_attack_with_no_image_left_is_exhausted_and_one_that_does_not_apply_is_not(build):
    answers = {"clean": list("11"), "apgd": list("00"), "square": list("00"), "autoattack": list("00")}
    board, records, _ = build.results({"one": build.cascaded(answers)}, cascade=True)
    attacks = [replace(attack, only="random") if attack.name == "autoattack" else attack for attack in board.attacks]
    (row,) = rank(merge(replace(board, attacks=tuple(attacks)), records))
    assert [(cell.estimate is None, cell.exhausted) for cell in row.cells] == [
        (False, False),
        (False, False),
        (True, True),
        (True, False),  # for random defenses only
    ]


def test_an_attack_that_gives_up_on_images_that_were_left_does_not_apply(build):
    _, _, (found,) = build.results({"one": {"clean": list("11"), "apgd": list("01"), "square": [S, S]}}, cascade=True)
    square = rank([found])[0].cells[2]
    assert (square.estimate, square.spared, square.exhausted) == (None, 1, False)


def test_without_a_cascade_nothing_was_spared(build):
    _, _, (found,) = build.results({"one": {"clean": list("11"), "apgd": list("00"), "square": [S, S]}})
    assert not found.spared(found.attacks[2]).any()
    assert not rank([found])[0].cells[2].exhausted


def test_a_clean_pass_that_was_spared_images_gives_no_clean_accuracy(build):
    plain, spared = both(build, {"apgd": list("01"), "clean": list("11")})
    assert plain.clean == clopper_pearson(2, 2)
    assert spared.clean is None
    assert spared.robust == plain.robust


def test_the_whole_board_agrees_with_the_one_without_a_cascade(nearby, cascade):
    for plain, spared in zip(nearby.results, cascade.results, strict=True):
        assert spared.cascade
        assert not plain.cascade
        assert spared.clean == plain.clean
        if plain.random:
            assert spared.robust.value == pytest.approx(plain.robust.value, abs=0.01)
            continue
        assert spared.robust == plain.robust
        radius = cascade.board.threat.radius
        beyond = [sum(d is None or d > radius for d in nearest(of).distances) for of in (plain, spared)]
        assert beyond == [round(48 * plain.robust.value)] * 2
