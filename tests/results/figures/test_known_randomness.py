"""Tests of the accuracy under known randomness and its gap: by hand, stored, validated, and never ranked."""

import json
from dataclasses import replace

import pytest

from purebench.core.errors import PurebenchError

from synthetic import merge  # isort: skip
from purebench.leaderboards.figures_text import (
    NOT_OPTIMISED,
    attack_columns,
    figure_notes,
    known_text,
    not_optimised_text,
)
from purebench.records.outcome import Outcome
from purebench.records.record import Record
from purebench.results.figures.known_randomness import known_randomness
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult
from purebench.statistics import gaffke, paired_difference

ANSWERS = {"noisy": {"clean": ["1111"] * 4, "known": ["1111", "0011", "0000", "1011"]}}


def with_known(build, right, seeds=8, answers=ANSWERS):
    board, records, _ = build.results(answers)
    records = [
        replace(one, known_right=right[2 * one.block : 2 * one.block + 2], known_seeds=seeds)
        if one.attack == "known"
        else one
        for one in records
    ]
    return board, records


def test_the_accuracy_is_the_mean_share_of_seeds_and_the_gap_is_paired_by_image(build):
    (found,) = merge(*with_known(build, [4, 2, 0, 0]))
    figures = known_randomness(found, found.attacks[1])
    assert (figures.attack, figures.seeds) == ("known", 8)
    assert figures.accuracy == gaffke([0.5, 0.25, 0, 0])
    assert figures.unknown.value == pytest.approx((1 + 0.5 + 0 + 0.75) / 4)
    assert figures.gap == paired_difference([1, 0.5, 0, 0.75], [0.5, 0.25, 0, 0])
    assert figures.gap.value == pytest.approx(figures.unknown.value - figures.accuracy.value)
    assert known_randomness(found, found.attacks[0]) is None


def test_it_is_printed_beside_the_row_and_never_ranked(build):
    (without,) = merge(*with_known(build, [], seeds=0))
    (found,) = merge(*with_known(build, [4, 2, 0, 0]))
    assert found.robust == without.robust
    assert [row.robust for row in rank([found])] == [row.robust for row in rank([without])]
    (told,) = (note for note in figure_notes(rank([found])) if "known-randomness" in note)
    accuracy = known_randomness(found, found.attacks[1]).accuracy
    assert told.startswith(
        f"noisy, known: known-randomness accuracy {accuracy.percent()} (8 seeds, {accuracy.n} images; an upper bound)"
    )
    assert "gap 37.5 [" in told
    assert told.endswith("not ranked")
    columns = attack_columns(found, found.attacks[1])
    assert columns["known_randomness_accuracy"] == accuracy.value
    assert columns["known_randomness_seeds"] == 8
    assert attack_columns(found, found.attacks[0])["known_randomness_accuracy"] is None


def test_an_accuracy_above_the_robust_accuracy_is_noted(build):
    """Its true value cannot be: an attacker who knows the random numbers may ignore them."""
    (found,) = merge(*with_known(build, [8, 8, 8, 8]))
    figures = known_randomness(found, found.attacks[1])
    assert (figures.robust, figures.not_optimised) == (found.robust, True)
    assert found.robust.value < 1
    assert figures.gap.value < 0
    expected = f"; not ranked; above the robust accuracy, {100 * found.robust.value:.1f} %: {NOT_OPTIMISED}"
    assert known_text(figures).endswith(expected)
    (found,) = merge(*with_known(build, [0, 0, 0, 0]))
    figures = known_randomness(found, found.attacks[1])
    assert (figures.not_optimised, not_optimised_text(figures)) == (False, ())


def test_the_robust_accuracy_of_other_images_is_no_bound(build):
    """In a cascade, for example, the attack has no answer on the images that others broke."""
    answers = {"noisy": {"clean": ["1111"] * 4, "known": ["1111", "0011", "0000", Outcome.SKIPPED]}}
    (found,) = merge(*with_known(build, [8, 8, 8, None], answers=answers))
    figures = known_randomness(found, found.attacks[1])
    assert (figures.robust, figures.not_optimised) == (None, False)


def test_images_without_an_answer_are_left_out(build):
    answers = {"noisy": {"clean": ["1111"] * 4, "known": ["1111", "0011", Outcome.ERRORED, Outcome.SKIPPED]}}
    (found,) = merge(*with_known(build, [4, 2, None, None], answers=answers))
    assert known_randomness(found, found.attacks[1]).accuracy == gaffke([0.5, 0.25])


def test_records_and_results_keep_it_and_are_unchanged_without_it(build):
    board, records = with_known(build, [4, 2, 0, 0])
    (found,) = merge(board, records)
    assert DefenseResult.from_dict(found.to_dict()).to_dict() == found.to_dict()
    clean, known = found.to_dict()["attacks"]
    new = {"known_right", "known_seeds", "looks", "clean_looks"}
    assert new & set(clean) == set()
    assert new & set(known) == {"known_right", "known_seeds"}
    for record in records:
        assert Record.from_json(record.to_json()) == record
    old = json.loads(records[0].to_json())
    assert Record.from_json(json.dumps({name: value for name, value in old.items() if name not in new})) == records[0]


@pytest.mark.parametrize(
    ("right", "seeds", "message"),
    [
        ([9, 0], 8, r"known_right\[0\]: expected at most 8"),
        ([1], 8, "known_right: expected one value for each of 2 images"),
        ([1, 1], 0, "if and only if there are seeds, but got 0"),
        ([], 8, "if and only if there are seeds, but got 8"),
        ([-1, 0], 8, "known_right"),
    ],
)
def test_contradicting_counts_are_refused(build, right, seeds, message):
    board, records = with_known(build, [4, 2, 0, 0])
    bad = replace(records[1], known_right=right, known_seeds=seeds)
    with pytest.raises(PurebenchError, match=message):
        Record.from_json(bad.to_json())
    (found,) = merge(board, records)
    data = found.to_dict()
    data["attacks"][1] |= {"known_right": right * 2, "known_seeds": seeds}
    with pytest.raises(PurebenchError, match="known_right"):
        DefenseResult.from_dict(data)
