"""Tests that the results of controls are written, read and deleted with their scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from purebench.results.files.companions import (
    companions_in_store,
    export_companions,
    load_companions,
    load_declared,
    score_to_dict,
)
from purebench.results.grading.gathering import evidence_of

from scored_controls import EXACT, board, bounds, control, row_of, scores  # isort: skip


def test_results_of_controls_are_exported_and_read_back_with_equal_scores(tmp_path: Path) -> None:
    answers = {"clean": "11111110", "apgd": "11110110", "transfer": "00001110"}
    companions = {"controls": [control(answers, bounds("01110000", "01110000"), EXACT)]}
    row = row_of(companions["controls"][0])
    assert load_companions(tmp_path, [row]) == {}
    export_companions(tmp_path, companions, ["control", "other"])
    again = load_companions(tmp_path, [row])
    assert scores(again["controls"]) == scores(companions["controls"])
    assert load_declared(tmp_path) == ["control", "other"]
    line = (tmp_path / "controls" / "scores.jsonl").read_text(encoding="utf-8")
    assert '"excess": { "confidence"' in line
    assert '"truth_high": 0.375' in line
    assert '{ "name": "other", "unscored": "unfinished" }' in line
    plain = score_to_dict(scores(again["controls"])[0])
    assert (plain["recovered"], plain["recovery"]) == (False, "undecided")
    assert load_companions(tmp_path, [replace(row, board={**row.board, "seed": 1})]) == {}


def test_controls_that_a_board_no_longer_declares_are_deleted_and_not_scored(tmp_path: Path) -> None:
    found = control({"clean": "11111110"}, bounds("01000000", "01000000"), EXACT)
    other = replace(found, name="other")
    export_companions(tmp_path, {"controls": [found, other]})
    assert [one.name for one in evidence_of([row_of(found)], {"controls": [found, other]}, ["other"]).controls] == [
        "other"
    ]
    export_companions(tmp_path, {"controls": [other]})
    assert not (tmp_path / "controls" / "control.json").exists()
    assert [one.name for one in load_companions(tmp_path, [row_of(found)])["controls"]] == ["other"]


def test_a_store_without_controls_has_no_companions(tmp_path: Path) -> None:
    from purebench.records import store

    with store.writing(tmp_path / "s"):
        pass
    assert companions_in_store(tmp_path / "s", board()) == {}
