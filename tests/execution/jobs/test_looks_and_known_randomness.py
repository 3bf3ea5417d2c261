"""Tests of jobs whose looks are counted, and of jobs of the attack with known randomness."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from purebench.boards.parse import load_board, parse_board
from purebench.core.errors import PurebenchError
from purebench.execution.context import Context, prepare
from purebench.execution.jobs.job import run_job
from purebench.execution.jobs.job_record import JobResult
from purebench.records.outcome import Outcome
from purebench.records.record import Record

from boards import write_board  # isort: skip

APGD = {"use": "apgd(steps=3)", "gradient": "exact", "eot": 8}
KNOWN = {"use": "known-randomness(steps=2, seeds=3, then=1)", "gradient": "exact", "eot": 2}


def context(folder: Path, **attacks: object) -> Context:
    return prepare(load_board(write_board(folder, images=4, attacks={"clean": {"use": "clean"}, **attacks})))


def find(context: Context, defense: str, attack: str) -> JobResult:
    (job,) = (j for j in context.jobs() if (j.defense.name, j.label, j.block) == (defense, attack, 0))
    return run_job(job, context)


def test_the_looks_of_an_attack_and_of_clean_images_are_in_its_record(tmp_path: Path) -> None:
    ready = context(tmp_path, apgd={**APGD, "counters": True})
    record = find(ready, "coin", "apgd").record
    assert [one.looks for one in record.looks if one] == [4] * 4  # scores of the image, and three gradients
    assert [one.draws for one in record.looks if one] == [32] * 4
    assert [one.draws for one in record.clean_looks if one] == [32] * 4
    assert all(one is not None and 0 < one.wrong < 32 for one in (*record.looks, *record.clean_looks))
    assert Record.from_json(record.to_json()) == record
    assert find(ready, "none", "apgd").record.looks == []  # a deterministic defense has no counts
    assert find(ready, "coin", "clean").record.looks == []


def test_counting_changes_the_key_and_no_adversarial_image(tmp_path: Path) -> None:
    counted = context(tmp_path / "a", apgd={**APGD, "counters": True})
    plain = context(tmp_path / "b", apgd=APGD)
    one, other = find(counted, "coin", "apgd"), find(plain, "coin", "apgd")
    assert (one.adversarial == other.adversarial).all()  # type: ignore[union-attr]
    assert one.record.draws == other.record.draws
    assert one.record.forwards == other.record.forwards + 4 * 32
    board = replace(counted.board, attacks=tuple(replace(one, counters=False) for one in counted.board.attacks))
    keys = [{(job.defense.name, job.label): job.key for job in ready.jobs()} for ready in (counted, prepare(board))]
    assert keys[0]["coin", "apgd"] != keys[1]["coin", "apgd"]
    assert keys[0]["coin", "clean"] == keys[1]["coin", "clean"]


def test_an_attack_without_looks_of_the_defense_has_a_note_and_no_counts(tmp_path: Path) -> None:
    library = {"use": "foolbox:LinfPGD(steps=2)", "gradient": "exact", "eot": 8, "counters": True}
    record = find(context(tmp_path, library=library), "coin", "library").record
    assert record.looks == []
    assert [note for note in record.notes if note.startswith("no counts of looks")]


def test_few_draws_of_a_look_are_refused_with_the_cure(tmp_path: Path) -> None:
    path = write_board(tmp_path, attacks={"apgd": {**APGD, "eot": 7, "counters": True}})
    with pytest.raises(PurebenchError, match=re.escape("set eot: 8, or remove counters")):
        load_board(path)
    board = load_board(write_board(tmp_path, attacks={"apgd": {**APGD, "counters": True}}))
    assert board.attacks[0].counters
    assert parse_board(board.to_dict()) == board
    assert "counters" not in load_board(write_board(tmp_path)).to_dict()["attacks"]["apgd"]


def test_known_randomness_is_in_the_record_and_skipped_on_deterministic_defenses(tmp_path: Path) -> None:
    ready = context(tmp_path, known=KNOWN)
    record = find(ready, "coin", "known").record
    assert record.known_seeds == 3
    assert all(count is not None and 0 <= count <= 3 for count in record.known_right)
    assert len(record.known_right) == 4
    assert set(record.outcomes) <= {Outcome.ROBUST, Outcome.MISCLASSIFIED}  # its points are verified as others are
    assert Record.from_json(record.to_json()) == record
    skipped = find(ready, "none", "known").record
    assert skipped.outcomes == [Outcome.SKIPPED] * 4
    assert "no randomness that an attacker could know" in skipped.reason
    again = find(ready, "coin", "known").record
    assert again.known_right == record.known_right
