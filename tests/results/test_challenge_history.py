"""Tests the history of a standing challenge: numbers, chain of hashes, identity, concurrent and killed writers."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purebench.core.errors import PurebenchError
from purebench.leaderboards.output import finish
from purebench.results.files.challenge_history import (
    FOLDER,
    HISTORY,
    Bound,
    Decided,
    History,
    Submitted,
    identity,
    read_history,
)
from purebench.results.files.challenge_writing import append, keep_examples, kept_examples, locked
from purebench.results.files.export import export_results, load_result, load_results
from purebench.results.grading.best_known import best_known
from purebench.results.ranking.rank import rank
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

from synthetic import judged, make_board, make_record, merge_all  # isort: skip

BOUND = Bound(0.25, 0.1, 0.5, 0.95, 4, "gaffke")


def result(**changes: Any) -> DefenseResult:
    board = make_board(attacks=("clean",), defenses=("plain",), images=4, block=4)
    records = [make_record(board, "plain", "clean", 0, ["1", "1", "1", "0"])]
    (found,) = merge_all(board, judged(board, records))
    return replace(found, **changes)


def submitted(number: int, defense: str = "d", **changes: Any) -> Submitted:
    event = Submitted(number, defense, "plain", "A. Name", "", "f", 4, 0.01, 7, "2026-01-01T00:00:00+00:00")
    return replace(event, **changes)


def decided(number: int, defense: str = "d", after: Bound | None = None, **changes: Any) -> Decided:
    event = Decided(number, defense, after is not None, 0.001, 9, 1, 3, BOUND, after, "e" if after else "")
    return replace(event, **changes)


def test_events_come_back_and_are_only_appended(tmp_path: Path) -> None:
    assert read_history(tmp_path) == History()
    for event in (submitted(1), decided(1), submitted(2), submitted(1, "other", row="b"), decided(2, after=BOUND)):
        append(tmp_path, event)
    found = read_history(tmp_path)
    assert [(event.number, done and done.accepted) for event, done in found.submissions("d")] == [(1, False), (2, True)]
    assert [(event.number, done) for event, done in found.submissions("other")] == [(1, None)]
    best = found.best("d")
    assert best is not None
    assert best.after is not None
    assert best.after.estimate == Estimate(0.25, 0.1, 0.5, 0.95, 4, "gaffke")
    assert found.best("other") is None
    assert len({event.previous for event in found.events}) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda events: events.pop(1), "at event 2: an event before it was changed or deleted"),
        (lambda events: events[0].update(author="Someone else"), "at event 2: an event before it was changed"),
        (lambda events: events[1].update(accepted=True), "at event 2: it is accepted without a bound"),
        (lambda events: events[2].update(number=7), "at event 3: its number is not the next one"),
        (lambda events: events[1].update(number=2), "at event 2: it decides no open submission"),
        (lambda events: events[0].update(level=2.0), "level"),
        (lambda events: events[0].update(more=1), "'more'"),
        (lambda events: events[0].update(kind="other"), "kind"),
    ],
)
def test_a_changed_history_is_refused(tmp_path: Path, change: Any, told: str) -> None:
    for event in (submitted(1), decided(1), submitted(2)):
        append(tmp_path, event)
    path = tmp_path / FOLDER / HISTORY
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data["events"])
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PurebenchError, match=told):
        read_history(tmp_path)
    path.write_text(json.dumps({**data, "schema": 2}), encoding="utf-8")
    with pytest.raises(PurebenchError, match="which a later version of purebench wrote"):
        read_history(tmp_path)


def test_neither_another_spec_nor_another_name_starts_a_new_count(tmp_path: Path) -> None:
    """The level of a challenge is spent for a row, whatever its spec, and for a defense, whatever its name."""
    for event in (submitted(1), submitted(2), submitted(1, "unrelated", row="b")):
        append(tmp_path, event)
    found = read_history(tmp_path)
    assert found.next_number("d", "plain") == 3
    assert found.next_number("another spec", "plain") == 3
    assert found.next_number("d", "renamed") == 3
    assert found.next_number("new", "new") == 1
    assert found.next_number("unrelated", "plain") == 4  # it connects both

    append(tmp_path, submitted(3, "another spec"))
    append(tmp_path, submitted(4, "another spec", row="renamed"))
    found = read_history(tmp_path)
    assert found.next_number("third spec", "renamed") == found.next_number("d", "plain") == 5
    assert found.next_number("unrelated", "b") == 2
    append(tmp_path, submitted(6, "unrelated"))
    assert read_history(tmp_path).next_number("x", "b") == 7
    append(tmp_path, submitted(1, "a restart"))
    with pytest.raises(PurebenchError, match="at event 7: its number is not the next one"):
        read_history(tmp_path)


def test_the_identity_is_that_of_the_defense_and_not_its_name() -> None:
    one = result()
    assert identity(one) == identity(replace(one, name="renamed", board={**one.board, "name": "x", "confidence": 0.9}))
    others = [
        replace(one, spec={"name": "plain", "params": {"alpha": 0.6}}),
        replace(one, weights="00" * 32),
        replace(one, images=(1, 2, 3, 4)),
        replace(one, board={**one.board, "threat": {"norm": "l2", "radius": 1}}),
        replace(one, provenance={**one.provenance, "code": {"defense": "x"}}),
        replace(one, provenance={**one.provenance, "data": "x"}),
    ]
    assert len({identity(other) for other in (one, *others)}) == 7


def test_the_bound_of_a_challenge_is_the_best_known_accuracy_of_its_defense_only(tmp_path: Path) -> None:
    one = result()
    export_results(tmp_path, [one])
    before = (tmp_path / "plain.json").read_bytes()
    append(tmp_path, submitted(1, identity(one)))
    append(tmp_path, decided(1, identity(one), after=BOUND))
    (found,) = load_results(tmp_path)
    assert best_known(found) == load_result(tmp_path / "plain.json").challenged == BOUND.estimate
    (row,) = rank([found])
    assert row.best_known == BOUND.estimate
    assert row.robust == one.robust  # not ranked
    export_results(tmp_path, [found])
    assert (tmp_path / "plain.json").read_bytes() == before  # a result file has no challenge
    export_results(tmp_path, [replace(one, weights="00" * 32)])
    assert best_known(load_results(tmp_path)[0]) is None  # the defense has changed since


def letters(folder: Path) -> dict[str, str]:
    """Return the letter of each reason for the grade of the row `plain`, by its code."""
    grade = json.loads((folder / "grades.json").read_text(encoding="utf-8"))["plain"]
    reasons = [one for part in grade.values() if isinstance(part, dict) for one in part["reasons"]]
    return {one["code"]: one["letter"] for one in reasons}


def test_a_run_shows_and_grades_rows_with_the_bounds_of_their_challenges(tmp_path: Path) -> None:
    board = make_board(defenses=("plain",), images=40, block=40)
    records = judged(board, [make_record(board, "plain", attack, 0, ["1"] * 40) for attack in ("clean", "apgd")])
    (one,) = merge_all(board, records)
    export_results(tmp_path, [one])
    before = letters(tmp_path)
    low = replace(BOUND, value=0.1, low=0.0, high=0.2)
    append(tmp_path, submitted(1, identity(one)))
    append(tmp_path, decided(1, identity(one), after=low))
    (found,) = finish(board, records, tmp_path / "page.html", tmp_path, None, ())
    assert found.challenged == low.estimate
    assert "best known" in (tmp_path / "page.html").read_text(encoding="utf-8").lower()
    assert (before["bespoke"], letters(tmp_path)["bespoke"]) == ("B", "D")
    (row,) = rank(load_results(tmp_path))
    assert row.grade is not None
    assert row.grade.to_dict() == json.loads((tmp_path / "grades.json").read_text(encoding="utf-8"))["plain"]


def test_a_bound_in_a_result_file_is_refused(tmp_path: Path) -> None:
    export_results(tmp_path, [result()])
    path = tmp_path / "plain.json"
    data = json.loads(path.read_text(encoding="utf-8")) | {"challenged": BOUND.estimate.to_dict()}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(PurebenchError, match="challenged"):
        load_results(tmp_path)


def test_examples_are_kept_under_their_hash(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 1, 3, 3), dtype=np.float32)
    with locked(tmp_path, 0):
        digest = keep_examples(tmp_path, images, [5, 2])
    assert np.array_equal(kept_examples(tmp_path, digest, [5, 2]), images)
    with pytest.raises(PurebenchError, match="expected the images of the result"):
        kept_examples(tmp_path, digest, [2, 5])
    (path,) = (tmp_path / FOLDER).glob("*.npz")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(PurebenchError, match="but they were changed"):
        kept_examples(tmp_path, digest, [5, 2])
    path.unlink()
    with pytest.raises(PurebenchError, match="cannot be read"):
        kept_examples(tmp_path, digest, [5, 2])


def _submit(results: Path, count: int) -> None:
    for _ in range(count):
        with locked(results, 60):
            number = len(read_history(results).submissions("d")) + 1
            append(results, submitted(number))
            append(results, decided(number))


def test_submissions_of_several_processes_have_numbers_of_their_own(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_submit, args=(tmp_path, 8)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    numbers = [event.number for event, _ in read_history(tmp_path).submissions("d")]
    assert numbers == list(range(1, 25))


def _killed(results: Path) -> None:
    import os
    import signal

    with locked(results, 0):
        append(results, submitted(1))
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_submission_counts_and_leaves_no_lock(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_killed, args=(tmp_path,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == -9
    assert [(event.number, done) for event, done in read_history(tmp_path).submissions("d")] == [(1, None)]
    _submit(tmp_path, 1)
    assert [event.number for event, _ in read_history(tmp_path).submissions("d")] == [1, 2]


def test_a_second_writer_waits_or_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path, 0),
        pytest.raises(PurebenchError, match="another submission is being evaluated"),
        locked(tmp_path, 0),
    ):
        pass
