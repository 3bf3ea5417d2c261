"""Reads and writes the results of the boards that are derived from a board and run beside it, such as its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from purebench.boards.board import Board
from purebench.boards.derived.controls_board import CONTROLS, REFERENCES, companion_name
from purebench.boards.derived.effort_board import EFFORT, effort_board
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES, load_json
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import from_plain
from purebench.records import store
from purebench.results.files.export import as_json, export_results, load_results, result_files, write_files
from purebench.results.files.stored_board import from_store
from purebench.results.grading.control_scores import score_controls
from purebench.results.grading.evidence import ControlScore, UnscoredControl
from purebench.results.grading.gathering import Companions, fitting
from purebench.results.grading.same_jobs import same_settings
from purebench.results.merge import header_of, merge
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
    if CONTROLS not in found:  # references are measured for controls only
        found.pop(REFERENCES, None)
    return found


def _fits(derived: Board, board: Board, kind: str) -> bool:
    """Return whether a derived board has the settings of a board, which may have other rows and fewer images."""
    if kind == EFFORT and (board.effort is None or derived.attacks != effort_board(board).attacks):
        return False
    return same_settings(header_of(board), header_of(derived), kind)


def export_companions(folder: Path, companions: Companions, declared: Sequence[str] = ()) -> None:
    """Write the results of derived boards to sub-folders of the folder of results, and the scores of the controls.

    Results of earlier runs in these sub-folders that are not among the given ones are deleted.

    Args:
        folder: the folder of the board's results.
        companions: the results by kind.
        declared: the names of the controls that the board declares; those of the results without any.

    Raises:
        PurebenchError: a file cannot be written.
    """
    for kind, results in companions.items():
        names = {result.name for result in results}
        for path in result_files(folder / kind):
            if path.stem not in names:
                path.unlink()
        export_results(folder / kind, results, None)
    if companions.get(CONTROLS):
        found = score_controls(companions[CONTROLS], companions.get(REFERENCES, ()), declared)
        plain = [*map(score_to_dict, found.scores), *map(unscored_to_dict, found.unscored)]
        lines = (" ".join(as_json(one).split()) for one in plain)
        write_files({folder / CONTROLS / SCORES: "".join(f"{line}\n" for line in lines)})


def load_companions(folder: Path, results: Sequence[DefenseResult]) -> dict[str, list[DefenseResult]]:
    """Return the results in the sub-folders that `export_companions` wrote; {} without any.

    Derived boards of other settings than the results' are left out.

    Args:
        folder: the folder of the board's results.
        results: the results of the board.

    Raises:
        PurebenchError: a file is not a result of this version.
    """
    loaded = {kind: load_results(folder / kind) for kind in KINDS if (folder / kind).is_dir()}
    return fitting(results, loaded)


def load_declared(folder: Path) -> list[str]:
    """Return the names of the controls that the board of a folder of results declares; [] if they were not written.

    Args:
        folder: the folder of the board's results.

    Raises:
        PurebenchError: the file of scores cannot be read.
    """
    path = folder / CONTROLS / SCORES
    if not path.is_file():
        return []
    lines = [from_plain(dict[str, Any], load_json(line)) for line in read_text(path, MOST_BYTES).splitlines() if line]
    return [str(line["name"]) for line in lines if "name" in line]


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
        "recovery": score.recovery.value,
        "recovery_without_transfer": score.recovery_without_transfer.value,
        "errored": score.errored,
    }


def unscored_to_dict(control: UnscoredControl) -> dict[str, object]:
    """Return a control without a score as plain JSON values."""
    return {"name": control.name, "unscored": control.why.value}


def _without_pictures(result: DefenseResult) -> DefenseResult:
    return replace(result, attacks=tuple(replace(attack, pictures=()) for attack in result.attacks))
