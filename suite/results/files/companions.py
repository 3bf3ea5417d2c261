"""Reads and writes the results of the boards that are derived from a board and run beside it, such as its controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.derived.controls_board import CONTROLS, REFERENCES, companion_name
from purebench.boards.derived.effort_board import EFFORT, effort_board
from purebench.core.errors import PurebenchError
from purebench.records import store
from purebench.results.files.export import as_json, export_results, load_results, write_files
from purebench.results.files.stored_board import from_store
from purebench.results.grading.evidence import ControlScore
from purebench.results.grading.gathering import Companions, scores_of
from purebench.results.merge import merge
from purebench.results.results import DefenseResult

KINDS = (CONTROLS, REFERENCES, EFFORT)
"""The kinds of derived boards, each a sub-folder of the folder of results."""
SCORES = "scores.jsonl"
"""File of the folder of the controls with their scores, one in a line."""


def companions_in_store(path: Path, board: Board) -> dict[str, list[DefenseResult]]:
    """Return the results of the boards that were derived from a board and run into a store.

    Derived boards of other settings are left out: of other images or attacks, of another seed or threat model.

    Args:
        path: the store.
        board: the board.
    """
    found: dict[str, list[DefenseResult]] = {}
    with store.reading(path) as saved:
        names = set(saved.plans())
    for kind in KINDS:
        name = companion_name(board.name, kind)
        if name not in names:
            continue
        try:
            derived, records = from_store(path, name)
            results = merge(derived, records)
        except PurebenchError:  # of another version, or damaged: it is run again with the board
            continue
        if results and _fits(derived, board, kind):
            found[kind] = [_without_pictures(result) for result in results]
    return found


def _fits(derived: Board, board: Board, kind: str) -> bool:
    """Return whether a derived board has the settings of a board, which may have other rows and fewer images.

    The last attack of a board of controls is the one that asks for their truth.
    """
    same = ("classifier", "threat", "draws", "fresh", "confidence", "seed", "attack_precision")
    data = ("use", "block", "seed")
    attacks = {
        CONTROLS: derived.attacks[:-1] == board.attacks,
        EFFORT: board.effort is not None and derived.attacks == effort_board(board).attacks,
    }
    return (
        attacks.get(kind, True)
        and all(getattr(derived, name) == getattr(board, name) for name in same)
        and all(getattr(derived.dataset, name) == getattr(board.dataset, name) for name in data)
    )


def export_companions(folder: Path, companions: Companions) -> None:
    """Write the results of derived boards to sub-folders of the folder of results, and the scores of the controls.

    Args:
        folder: the folder of the board's results.
        companions: the results by kind.

    Raises:
        PurebenchError: a file cannot be written.
    """
    for kind, results in companions.items():
        export_results(folder / kind, results, None)
    if companions.get(CONTROLS):
        lines = (" ".join(as_json(score_to_dict(score)).split()) for score in scores_of(companions))
        write_files({folder / CONTROLS / SCORES: "".join(f"{line}\n" for line in lines)})


def load_companions(folder: Path) -> dict[str, list[DefenseResult]]:
    """Return the results in the sub-folders that `export_companions` wrote; {} without any.

    Args:
        folder: the folder of the board's results.

    Raises:
        PurebenchError: a file is not a result of this version.
    """
    loaded = {kind: load_results(folder / kind) for kind in KINDS if (folder / kind).is_dir()}
    return {kind: results for kind, results in loaded.items() if results}


def score_to_dict(score: ControlScore) -> dict[str, object]:
    """Return a score as plain JSON values."""
    return {
        "name": score.name,
        "kind": score.kind.value,
        "truth_low": score.truth_low,
        "truth_high": score.truth_high,
        "measured": score.measured.to_dict(),
        "without_transfer": None if score.without_transfer is None else score.without_transfer.to_dict(),
        "by_attack_kind": {kind: found.to_dict() for kind, found in score.by_attack_kind.items()},
        "excess": score.excess.to_dict(),
        "recovered": score.recovered,
    }


def _without_pictures(result: DefenseResult) -> DefenseResult:
    return replace(result, attacks=tuple(replace(attack, pictures=()) for attack in result.attacks))
