"""Tests of the figures that papers print, by hand, and of the validation of the counts behind them."""

from dataclasses import asdict, replace
from itertools import combinations

import numpy as np
import pytest

from purebench.core.answers import LookCount
from purebench.core.errors import PurebenchError

from synthetic import merge  # isort: skip
from purebench.leaderboards.figures_text import MV, VOTE, attack_columns, figure_notes
from purebench.records.outcome import Outcome
from purebench.records.record import Record
from purebench.results.figures.as_printed import as_printed
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult
from purebench.statistics import gaffke, resubmission_curve

CLEAN = ["1" * 12, "1" * 12, "1" * 11 + "0", "1" * 12]
ATTACKED = ["1" * 12, "1" * 11 + "0", "0" * 12, "1" * 6 + "0" * 6]
LOOKS = [
    LookCount(5, 50, 0, 0.0, plurality_wrong=False),
    LookCount(5, 50, 3, 0.2, plurality_wrong=False),
    LookCount(2, 20, 20, 1.0, plurality_wrong=True),
    LookCount(4, 40, 15, 0.6, plurality_wrong=True),
]
UNMOVED = [
    LookCount(5, 50, 0, 0.0, plurality_wrong=False),
    LookCount(5, 50, 1, 0.1, plurality_wrong=False),
    LookCount(2, 20, 2, 0.1, plurality_wrong=False),
    LookCount(4, 40, 0, 0.0, plurality_wrong=False),
]


def counted(build, looks=LOOKS, clean=UNMOVED, attacked=ATTACKED, draws=12):
    unmoved = CLEAN if draws == 12 else ["1" * draws] * 4
    board, records, _ = build.results({"noisy": {"clean": unmoved, "apgd": attacked}}, draws=draws)
    board = replace(board, attacks=tuple(replace(one, counters=one.name == "apgd") for one in board.attacks))
    records = [
        replace(
            one, looks=looks[2 * one.block : 2 * one.block + 2], clean_looks=clean[2 * one.block : 2 * one.block + 2]
        )
        if one.attack == "apgd"
        else one
        for one in records
    ]
    return board, records


def test_the_figures_are_those_of_the_papers_with_their_clean_counterparts(build):
    (found,) = merge(*counted(build))
    figures = as_printed(found, found.attacks[1])
    assert as_printed(found, found.attacks[0]) is None
    assert (figures.looks, figures.draws) == (4, 10)
    assert figures.avg.attacked == gaffke([1, 0.8, 0, 0.4])
    assert figures.avg.clean == gaffke([1, 0.9, 0.9, 1])
    assert figures.wor.attacked == gaffke([1, 0, 0, 0])
    assert figures.wor.clean == gaffke([1, 0, 0, 1])
    fresh = {one.name: one for one in figures.fresh}
    assert list(fresh) == ["Avg (fresh)", "Wor.10 (fresh)", "MV.8 (fresh)"]
    attacked, clean = (found.right(attack)[None] for attack in (found.attacks[1], found.attacks[0]))
    assert fresh["Avg (fresh)"].attacked == found.accuracy(found.attacks[1])
    assert fresh["Avg (fresh)"].clean == found.clean
    assert fresh["Wor.10 (fresh)"].attacked == resubmission_curve(attacked)[9]
    assert fresh["Wor.10 (fresh)"].clean == resubmission_curve(clean)[9]
    assert fresh["MV.8 (fresh)"].attacked.value == pytest.approx(majority_of_subsets(attacked[0], 8))
    assert fresh["MV.8 (fresh)"].clean.value == pytest.approx(majority_of_subsets(clean[0], 8))
    assert (
        0.5 < fresh["MV.8 (fresh)"].attacked.value < 0.75
    )  # six of twelve draws: neither always right nor always wrong


def majority_of_subsets(right, voters):
    """The share of all subsets of an image's draws in which more than half are right, averaged over images."""
    return np.mean([[2 * sum(some) > voters for some in combinations(row, voters)] for row in right.tolist()])


def test_a_board_of_128_draws_has_the_vote_of_diffbreak_on_cifar10(build):
    attacked = ["1" * 128, "1" * 64 + "0" * 64, "1" * 65 + "0" * 63, "0" * 128]
    (found,) = merge(*counted(build, attacked=attacked, draws=128))
    fresh = {one.name: one.attacked for one in as_printed(found, found.attacks[1]).fresh}
    assert list(fresh) == ["Avg (fresh)", "Wor.10 (fresh)", "MV.8 (fresh)", "MV.128 (fresh)"]
    assert fresh["MV.128 (fresh)"] == gaffke([1, 0, 1, 0])  # a tie is wrong


def test_the_figure_of_ten_draws_needs_ten_draws(build):
    attacked = [draws[:5] for draws in ATTACKED]
    board, records, _ = build.results({"noisy": {"clean": ["11111"] * 4, "apgd": attacked}}, draws=5)
    board = replace(board, attacks=tuple(replace(one, counters=one.name == "apgd") for one in board.attacks))
    looks = {"looks": LOOKS[:2], "clean_looks": UNMOVED[:2]}
    (found,) = merge(board, [replace(one, **looks) if one.attack == "apgd" else one for one in records])
    names = [one.name for one in as_printed(found, found.attacks[1]).fresh]
    assert names == ["Avg (fresh)", "MV.5 (fresh)"]


def test_images_without_looks_are_left_out(build):
    attacked = [ATTACKED[0], ATTACKED[1], Outcome.ERRORED, ATTACKED[3]]
    (found,) = merge(*counted(build, [*LOOKS[:2], None, LOOKS[3]], [*UNMOVED[:2], None, UNMOVED[3]], attacked))
    figures = as_printed(found, found.attacks[1])
    assert figures.avg.attacked == gaffke([1, 0.8, 0.4])
    assert figures.fresh[0].attacked.n == 3
    right = found.right(found.attacks[0])[[0, 1, 3]]
    assert figures.fresh[0].clean == gaffke(right.mean(axis=1))  # of the same images


def test_looks_of_few_draws_have_no_figures(build):
    few = [LookCount(one.looks, 7 * one.looks, 0, 0.0, plurality_wrong=False) for one in LOOKS]
    (found,) = merge(*counted(build, few, few))
    assert as_printed(found, found.attacks[1]) is None


def test_notes_and_columns_state_the_figures_and_what_vote_is_not(build):
    (found,) = merge(*counted(build))
    figures = as_printed(found, found.attacks[1])
    notes = figure_notes(rank([found]))
    (told,) = (note for note in notes if note.startswith("noisy, apgd: 4 looks of 10 draws per image on average"))
    for one in figures.figures:
        assert f"{one.name} {one.attacked.percent()}, clean {one.clean.percent()}" in told
    assert "images that leave the attack early count with the looks that they had" in told
    assert notes[-1] == MV
    assert "DiffBreak has K = 128 on CIFAR-10 and K = 8 elsewhere" in MV
    assert MV.endswith(VOTE)
    columns = attack_columns(found, found.attacks[1])
    assert columns["avg_as_diffhammer_prints"] == figures.avg.attacked.value
    assert columns["wor_as_diffhammer_prints_clean_low"] == figures.wor.clean.low


def test_records_and_results_keep_the_counts(build):
    board, records = counted(build)
    (found,) = merge(board, records)
    assert found.attacks[1].looks == tuple(LOOKS)
    assert DefenseResult.from_dict(found.to_dict()) == found.with_seconds({})
    for record in records:
        assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("looks", "clean", "message"),
    [
        (LOOKS[:2], [], r"clean_looks: expected 2 counts"),
        (LOOKS[:2], [UNMOVED[0], UNMOVED[2]], r"clean_looks\[1\]: expected as many looks and draws as in looks"),
        (LOOKS[:2], [UNMOVED[0], None], r"clean_looks\[1\]: expected as many"),
        ([LOOKS[0], replace(LOOKS[1], wrong=51)], UNMOVED[:2], r"looks\[1\]: the numbers .* contradict"),
        ([LOOKS[0], replace(LOOKS[1], most=0.01)], UNMOVED[:2], r"looks\[1\]: the numbers .* contradict"),
        ([replace(LOOKS[0], plurality_wrong=True), LOOKS[1]], UNMOVED[:2], r"looks\[0\]: the numbers .* contradict"),
        ([replace(LOOKS[0], looks=51), LOOKS[1]], UNMOVED[:2], r"looks\[0\]: the numbers .* contradict"),
        ([replace(LOOKS[0], most=1.5), LOOKS[1]], UNMOVED[:2], "most"),
    ],
)
def test_contradicting_counts_are_refused(build, looks, clean, message):
    _, records = counted(build)
    with pytest.raises(PurebenchError, match=message):
        Record.from_json(replace(records[2], looks=looks, clean_looks=clean).to_json())


def test_counts_that_the_board_does_not_ask_for_are_refused(build):
    (found,) = merge(*counted(build))
    data = found.to_dict()
    del data["board"]["attacks"]["apgd"]["counters"]
    with pytest.raises(PurebenchError, match="does not have the looks of this attack counted"):
        DefenseResult.from_dict(data)
    data = found.to_dict()
    data["attacks"][1]["looks"] = [asdict(replace(one, wrong=100) if one else one) for one in LOOKS]
    with pytest.raises(PurebenchError, match="looks"):
        DefenseResult.from_dict(data)
