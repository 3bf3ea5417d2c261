"""Tests of the key `effort`: its settings, the derived board of the ladder, and boards that grow; no key changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from purebench.boards.code_identity import code_of_board
from purebench.boards.derived.effort_board import effort_board
from purebench.boards.derived.growing_effort import MOST_LEVELS, effort_text, grown, level_of, ungrown
from purebench.boards.jobs import Job, plan
from purebench.boards.parse import parse_board
from purebench.core.errors import PurebenchError

BOARD: dict[str, Any] = {
    "name": "small",
    "dataset": {"use": "fashion-mnist", "images": 20, "block": 8},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "8/255"},
    "verify": {"draws": 4},
    "attacks": {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=3)", "gradient": "exact", "eot": 2},
        "square": {"use": "square(queries=5)"},
        "margin": {"use": "pgd(steps=4)", "gradient": "exact", "only": "source"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "margin"}},
    },
    "defenses": {"none": "none", "noise": {"gaussian-noise": {"sigma": 0.1}}},
}


def made(effort: Any = None, **parts: Any) -> Any:
    plain = copy.deepcopy(BOARD) | parts
    return parse_board(plain if effort is None else plain | {"effort": effort})


def jobs_of(board: Any) -> dict[tuple[str, str, int], str]:
    prints = {row.name: "w" for row in board.defenses}
    jobs = plan(board, ["d"] * board.blocks, prints, "1", code_of_board(board))
    return {(job.defense.name, job.label, job.block): job.key for job in jobs}


def test_the_effort_of_a_board_changes_no_key_and_is_in_no_result() -> None:
    plain = made()
    for effort in ("auto", {}, {"images": 8, "queries": 3}, {"rungs": [{"steps": 1}, {"steps": 2}, {"steps": 4}]}):
        board = made(effort)
        assert jobs_of(board) == jobs_of(plain)
        assert parse_board(board.to_dict()).effort == board.effort
    assert made().effort is None
    assert made("auto").effort == made({"auto": True}).effort


@pytest.mark.parametrize(
    ("effort", "told"),
    [
        ("automatic", "effort: expected a mapping with auto, budget, images, queries, rungs, but got 'automatic'"),
        ({"image": 8}, "effort: the key 'image' is unknown; did you mean 'images'"),
        ({"rungs": [{"steps": 1}, {"steps": 2}]}, "effort.rungs: expected a list of 3 to 20 rungs"),
        ({"rungs": [{"steps": 4}, {"steps": 2}, {"steps": 8}]}, "expected rungs of rising steps × eot × restarts"),
        ({"rungs": [{"steps": 1}, {"steps": 2}, {"steps": 0}]}, "effort.rungs[2].steps: expected"),
        ({"budget": 0}, "effort.budget: expected"),
    ],
)
def test_faulty_settings_are_refused_with_the_place(effort: Any, told: str) -> None:
    with pytest.raises(PurebenchError) as error:
        made(effort)
    assert told in str(error.value)


def test_the_ladder_is_a_board_of_its_own_on_the_first_whole_blocks_with_all_rows() -> None:
    found = effort_board(made({"images": 9}))
    assert found.name == "small-effort"
    assert (found.dataset.images, found.dataset.block) == (16, 8)
    assert [row.name for row in found.shown] == ["none", "noise"]
    assert [row.name for row in found.defenses if row.only_source] == ["undefended"]
    assert parse_board(found.to_dict()) == found  # a store keeps it like any other board
    assert not set(jobs_of(found).values()) & set(jobs_of(made()).values())
    assert effort_board(made({"images": 500})).dataset.images == 20


def test_the_rungs_are_random_noise_and_then_attacks_of_rising_cost() -> None:
    rungs = [{"steps": 1}, {"steps": 2, "eot": 3}, {"steps": 2, "eot": 3, "restarts": 2}]
    attacks = {attack.name: attack for attack in effort_board(made({"rungs": rungs, "queries": 7})).attacks}
    assert next(iter(attacks)) == "random-noise"
    assert [str(attacks[f"rung-{n}"].use) for n in (1, 2, 3)] == [
        "apgd(steps=1, loss='cw')",
        "apgd(steps=2, loss='cw')",
        "apgd(steps=2, loss='cw', restarts=2)",
    ]
    assert [attacks[f"rung-{n}"].eot for n in (1, 2, 3)] == [1, 3, 3]
    assert {attacks[f"rung-{n}"].gradient for n in (1, 2, 3)} == {"exact-or-bpda"}
    assert str(attacks["square"].use) == "square(queries=7)"


def test_the_ladder_of_a_board_at_another_radius_has_the_radius_at_the_end_of_its_name() -> None:
    assert effort_board(made({}, name="small@4-255")).name == "small-effort@4-255"


def test_a_row_that_has_the_name_of_the_undefended_classifier_keeps_it() -> None:
    rows = {"undefended": "trades", "no-defense": "none"}
    found = effort_board(made({}, defenses=rows, attacks={"clean": {"use": "clean"}}))
    assert [row.name for row in found.defenses] == ["undefended", "no-defense", "classifier-alone"]


def test_a_grown_board_doubles_steps_and_restarts_in_turn_and_keeps_the_keys_of_the_levels_before() -> None:
    board = made("auto")
    assert grown(board, 0) == board
    found = grown(board, 3)
    added = {attack.name: str(attack.use) for attack in found.attacks if attack.spare}
    assert added == {
        "apgd-x2": "apgd(steps=6, restarts=1)",
        "apgd-x4": "apgd(steps=6, restarts=2)",
        "apgd-x8": "apgd(steps=12, restarts=2)",
    }
    before, after = jobs_of(grown(board, 2)), jobs_of(found)
    attacks = {job: key for job, key in before.items() if job[1] != "worst-case"}
    assert len(attacks) > 0
    assert {job: after[job] for job in attacks} == attacks
    assert parse_board(found.to_dict()) == found
    assert ungrown(found) == board


def test_only_the_added_attacks_spare_broken_images_and_need_the_attacks_before_them() -> None:
    board = grown(made("auto"), 1)
    jobs = plan(board, ["d"] * board.blocks, {row.name: "w" for row in board.defenses}, "1", code_of_board(board))
    needs = {job.label: len(job.after) for job in jobs if isinstance(job, Job) and job.defense.name == "noise"}
    assert needs == {"clean": 0, "apgd": 0, "square": 0, "margin": 0, "transfer": 0, "apgd-x2": 5}


def test_the_effort_that_was_reached_is_told_in_words() -> None:
    board = made("auto")
    assert effort_text(made()) == effort_text(made({})) == ""
    assert effort_text(grown(board, 0)).endswith("up to 1 times the effort of the board")
    assert effort_text(grown(board, MOST_LEVELS)).endswith("up to 256 times the effort of the board")
    assert level_of(grown(board, 2), "apgd-x4") == 2
    assert level_of(grown(board, 2), "apgd") == 0


def test_an_attack_whose_own_name_looks_grown_is_none() -> None:
    attacks = {"clean": {"use": "clean"}, "apgd-x4": {"use": "apgd(steps=2)", "gradient": "exact"}}
    board = made("auto", attacks=attacks)
    assert level_of(board, "apgd-x4") == 0
    assert [attack.name for attack in grown(board, 1).attacks] == ["clean", "apgd-x4", "apgd-x4-x2"]
    assert ungrown(grown(board, 1)) == board


@pytest.mark.parametrize(("level", "factors"), [(0, (1, 1)), (1, (2, 1)), (2, (2, 2)), (3, (4, 2))])
def test_the_ladder_ends_at_the_effort_that_the_attacks_reached(level: int, factors: tuple[int, int]) -> None:
    board = made({"auto": True, "rungs": [{"steps": 1, "eot": 2}, {"steps": 2, "eot": 2}, {"steps": 4, "eot": 2}]})
    rungs = [attack for attack in effort_board(grown(board, level)).attacks if attack.name.startswith("rung-")]
    assert [rung.use.params["steps"] for rung in rungs] == [factors[0] * steps for steps in (1, 2, 4)]
    assert [rung.use.params.get("restarts", 1) for rung in rungs] == [factors[1]] * 3
    assert [rung.eot for rung in rungs] == [2, 2, 2]
    largest = {attack.name: attack for attack in grown(board, level).attacks}[
        "apgd" if not level else f"apgd-x{2**level}"
    ]
    assert largest.use.params["steps"] == factors[0] * 3
