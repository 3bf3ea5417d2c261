"""Results of made-up rows on CIFAR-10 under linf 8/255, two of which others make claims about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from purebench.boards.board import Board, DefenseChoice
from purebench.core.registry import Spec
from purebench.leaderboards.site.source import BoardSource, board_source
from purebench.results.results import DefenseResult

from synthetic import make_results  # isort: skip

SPECS = {
    "carmon-2019": "robustbench:Carmon2019Unlabeled",
    "none": "none",
    "diffpure": "diffpure/cifar10",
}


def published_rows() -> tuple[Board, list[DefenseResult]]:
    """Return the board and the results of its rows."""
    answers = {"clean": ["1"] * 8, "apgd": ["1", "0"] * 4}
    board, _, results = make_results(dict.fromkeys(SPECS, answers), name="published", title="Published rows")
    board = replace(board, defenses=tuple(DefenseChoice(name, Spec.parse(text)) for name, text in SPECS.items()))
    return board, [on_board(result) for result in results]


def on_board(result: DefenseResult, **settings: object) -> DefenseResult:
    """Return the result as one on CIFAR-10 of the row of that name; `settings` replace those of the board."""
    usual = {
        "dataset": {**result.board["dataset"], "use": "cifar10"},
        "classifier": "robustbench:Standard",
        "threat": {"norm": "linf", "radius": "8/255"},
    }
    return replace(result, board={**result.board, **usual, **settings}, spec=Spec.parse(SPECS[result.name]).to_dict())


def published_source(folder: Path) -> BoardSource:
    """Return the board as the source of a site."""
    board, results = published_rows()
    return board_source(board, folder, results)
