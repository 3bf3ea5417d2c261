"""Tests of the decision to double the effort once more: it depends on the results alone."""

from dataclasses import replace

import pytest

from purebench.boards.derived.growing_effort import MOST_LEVELS, grown_name
from purebench.boards.effort_settings import EffortSettings
from purebench.results.grading.unfinished_rows import passes_of_next_level, unfinished

from ladders import ladder_results, own_attack  # isort: skip
from synthetic import make_board  # isort: skip

NONE = dict.fromkeys(("random-noise", "rung-4"), 0)


def board_of(budget=1000):
    board = make_board((), ("row",), 100, 100, 1, effort=EffortSettings(auto=True, budget=budget))
    return replace(board, attacks=(own_attack("clean"), own_attack("apgd")))


def row_of(broken, **options):
    return ladder_results(NONE, own={"clean": 0, "apgd": broken}, **options)[0]


def levels_of(*broken, draws=1):
    """Return the results of a row at rising levels, at which these numbers of its 100 images are broken."""

    # passes are those of the attacks that a level added; here they have the name of that level
    def at(level, count):
        own = row_of(count, draws=draws)
        if level == 0:
            return own
        name = grown_name("apgd", level)
        board = {**own.board, "attacks": {**own.board["attacks"], name: own.board["attacks"]["apgd"]}}
        return replace(own, board=board, attacks=(own.attacks[0], replace(own.attacks[1], name=name)))

    return [[at(level, count)] for level, count in enumerate(broken)]


def test_a_row_is_doubled_twice_unless_nothing_is_left():
    assert unfinished(board_of(), levels_of(50)) == ["row"]
    assert unfinished(board_of(), levels_of(50, 50)) == ["row"]
    assert unfinished(board_of(), levels_of(100)) == []
    assert unfinished(board_of(), levels_of(50, 100)) == []


@pytest.mark.parametrize("draws", [1, 8])
def test_a_row_is_doubled_until_two_doublings_change_less_than_the_margin(draws):
    assert unfinished(board_of(), levels_of(50, 50, 50, draws=draws)) == []
    assert unfinished(board_of(), levels_of(50, 60, 60, draws=draws)) == ["row"]
    assert unfinished(board_of(), levels_of(50, 60, 60, 60, draws=draws)) == []


def test_slow_falls_go_on():
    # each doubling alone looks small, as of an attack that converges slowly
    assert unfinished(board_of(), levels_of(50, 53, 56)) == ["row"]


def test_the_next_level_costs_twice_the_last_one_and_must_be_within_the_budget_of_every_row():
    own = row_of(50)
    # the records have 10 forwards and 5 backwards per image and attack, 20 passes, and clean has 10 forwards
    assert passes_of_next_level(board_of(), own, 0) == 40
    spent = 20 + 10
    assert unfinished(board_of(spent + 40), [[own]]) == ["row"]
    assert unfinished(board_of(spent + 39), [[own]]) == []
    costly = replace(own, name="costly", attacks=(own.attacks[0], replace(own.attacks[1], forwards=10_000)))
    assert unfinished(board_of(spent + 40), [[own, costly]]) == []


def test_the_number_of_levels_is_limited():
    assert unfinished(board_of(10**6), levels_of(*range(0, 10 * MOST_LEVELS + 1, 10))) == []
