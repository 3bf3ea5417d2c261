"""Tests cascades: robust accuracy is that without a cascade, and accuracies under single attacks are conditional."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.results.distances import nearest_distances

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
    """Returns the results of one defense without and with a cascade."""
    (plain,) = build.results({"one": answers}, **more)[2]
    (spared,) = build.results({"one": build.cascaded(answers)}, cascade=True, **more)[2]
    return plain, spared


@given(table=TABLES)
@settings(max_examples=60)
def test_cascade_gives_the_same_robust_accuracy_of_a_deterministic_defense(build, table):
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


def test_cascade_gives_the_same_robust_accuracy_of_a_random_defense_without_ties(build):
    answers = {
        "clean": ["1111", "1111", "1111", "0000"],
        "apgd": ["0000", "1101", "1111", "0000"],
        "square": ["0000", "0100", "1010", "0000"],
    }
    plain, spared = both(build, answers)
    assert spared.robust == plain.robust
    assert spared.robust.value == pytest.approx((0 + 0.25 + 0.5 + 0) / 4)
    # square attacked two of the four images
    assert spared.accuracy(spared.attacks[2]).n == 2
    assert plain.accuracy(plain.attacks[2]).n == 4


def test_cascade_skips_images_of_random_defenses_only_if_every_draw_was_wrong(build):
    _, spared = both(build, {"clean": ["1111"] * 2, "apgd": ["0001", "0000"], "square": ["0000", "0000"]})
    assert [list(spared.spared(attack)) for attack in spared.attacks] == [[False, False], [False, False], [False, True]]
    assert spared.attacks[1].outcomes == (Outcome.MISCLASSIFIED, Outcome.MISCLASSIFIED)


def test_the_strongest_attack_of_a_cascade_broke_the_most_images(build):
    answers = {"clean": list("11111"), "apgd": list("00011"), "square": list("11100")}
    plain, spared = both(build, answers, block=5)
    (row,) = rank([spared])
    _, apgd, square = row.cells
    assert (apgd.estimate.value, square.estimate.value) == (0.4, 0.0)  # the accuracy under square is over two images
    assert (apgd.spared, square.spared, square.estimate.n) == (0, 3, 2)
    assert row.strongest == "apgd"
    assert rank([plain])[0].strongest == "apgd"
    assert rank([both(build, {**answers, "apgd": list("10111")}, block=5)[1]])[0].strongest == "square"


@pytest.mark.parametrize(
    ("apgd", "square", "expected"),
    [
        ([E] * 4, list("1110"), "square"),
        (list("1111"), list("1111"), "apgd"),  # ties go to the first attack on the board
        (list("0000"), [S] * 4, "apgd"),
        ([E] * 4, [S] * 4, None),
    ],
)
def test_the_strongest_attack_of_a_cascade_with_errored_or_skipped_attacks(build, apgd, square, expected):
    _, _, (found,) = build.results(
        {"one": {"clean": list("1111"), "apgd": apgd, "square": square}}, cascade=True, block=4
    )
    assert rank([found])[0].strongest == expected


def test_cascade_attacks_an_errored_image_again_and_never_counts_it_as_robust(build):
    _, spared = both(build, {"clean": list("111"), "apgd": [E, "0", "1"], "square": list("011")}, block=3)
    assert list(spared.spared(spared.attacks[2])) == [False, True, False]
    assert spared.bounds is None
    assert spared.robust.value == pytest.approx(1 / 3)  # square broke the image on which apgd errored


def test_an_attack_is_exhausted_if_no_image_is_left_but_not_if_it_does_not_apply(build):
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


def test_an_attack_that_skips_the_remaining_images_is_not_exhausted(build):
    _, _, (found,) = build.results({"one": {"clean": list("11"), "apgd": list("01"), "square": [S, S]}}, cascade=True)
    square = rank([found])[0].cells[2]
    assert (square.estimate, square.spared, square.exhausted) == (None, 1, False)


def test_without_a_cascade_skipped_images_do_not_count_as_spared(build):
    _, _, (found,) = build.results({"one": {"clean": list("11"), "apgd": list("00"), "square": [S, S]}})
    assert not found.spared(found.attacks[2]).any()
    assert not rank([found])[0].cells[2].exhausted


def test_there_is_no_clean_accuracy_if_the_clean_pass_skipped_images(build):
    plain, spared = both(build, {"apgd": list("01"), "clean": list("11")})
    assert plain.clean == clopper_pearson(2, 2)
    assert spared.clean is None
    assert spared.robust == plain.robust


def test_all_rows_agree_with_those_of_the_board_without_a_cascade(nearby, cascade):
    for plain, spared in zip(nearby.results, cascade.results, strict=True):
        assert spared.cascade
        assert not plain.cascade
        assert spared.clean == plain.clean
        if plain.random:
            assert spared.robust.value == pytest.approx(plain.robust.value, abs=0.01)
            continue
        assert spared.robust == plain.robust
        radius = cascade.board.threat.radius
        beyond = [sum(d is None or d > radius for d in nearest_distances(of).distances) for of in (plain, spared)]
        assert beyond == [round(48 * plain.robust.value)] * 2
