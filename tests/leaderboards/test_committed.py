"""Tests that the results shipped with a board belong to that board."""

from __future__ import annotations

import json
from typing import Any

import pytest

from purebench.boards.bundled import bundled
from purebench.boards.selection import choose
from purebench.core.registry import Spec
from purebench.results.files.companions import CONTROLS, SCORES, load_companions, score_to_dict
from purebench.results.files.export import load_results
from purebench.results.grading.gathering import evidence_of
from purebench.results.ranking.rank import rank

SHORTENED = {"fashion-linf": 100}
"""The boards whose results are of their first images only."""
BOARDS = [name for name, path in bundled().items() if (path.parent / "results").is_dir()]


def rounded(text: str) -> Any:
    """Return the content of a JSON text with 12 decimals: kinds of processors differ in the last digits of a float."""
    return json.loads(text, parse_float=lambda number: round(float(number), 12))


@pytest.mark.parametrize("name", BOARDS)
def test_shipped_results_belong_to_the_current_board(name: str) -> None:
    board = choose(name, None, SHORTENED.get(name))
    results = load_results(bundled()[name].parent / "results")
    definition = board.to_dict()
    rows = {row.name: row.use for row in board.defenses}
    assert results
    for result in results:
        assert dict(result.board) == {key: definition[key] for key in result.board}
        assert Spec(result.spec["name"], result.spec["params"]) == rows[result.name]
        assert len(result.images) == len(set(result.images)) == board.dataset.images
        assert not result.failed
    ranked = rank(results)
    scores = [(row.robust.value, row.clean.value) if row.robust and row.clean else None for row in ranked]
    assert None not in scores
    assert [row.rank for row in ranked] == [1 + scores.index(score) for score in scores]  # equal scores share a rank


@pytest.mark.parametrize("name", [name for name in BOARDS if (bundled()[name].parent / "results" / CONTROLS).is_dir()])
def test_shipped_scores_of_controls_are_those_of_their_shipped_results(name: str) -> None:
    folder = bundled()[name].parent / "results"
    results, board = load_results(folder), choose(name, None, None)
    declared = {row.name: row.use for row in board.controls}
    companions = load_companions(folder, results)
    assert {one.name: Spec(one.spec["name"], one.spec["params"]) for one in companions[CONTROLS]} == declared
    evidence = evidence_of(results, companions, list(declared))
    assert not any(evidence.stale.values())
    lines = (folder / CONTROLS / SCORES).read_text(encoding="utf-8").splitlines()
    scores = [json.dumps(score_to_dict(one)) for one in evidence.controls]
    assert [rounded(line) for line in lines] == [rounded(line) for line in scores]
