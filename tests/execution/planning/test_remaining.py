"""Tests the estimate of a run's remaining time."""

from __future__ import annotations

from pathlib import Path

import pytest

from purebench.boards.parse import load_board
from purebench.execution.board_run import run_board
from purebench.execution.planning.remaining import RemainingTime, clean_first

from boards import write_board  # isort: skip
from synthetic import NamedJob, make_board, make_record  # isort: skip

BOARD = make_board()
ONE, MANY = ["1", "1"], ["1111", "1111"]


def record(defense: str, attack: str, seconds: float, draws: list[str] = ONE):
    return make_record(BOARD, defense, attack, 0, draws, seconds={"attack": seconds})


def test_a_pair_takes_its_mean_time_over_the_workers() -> None:
    remaining = RemainingTime([NamedJob("a", "x")] * 5, workers=2)
    assert remaining.seconds() == (0.0, False)
    remaining.finished(record("a", "x", 2.0))
    assert remaining.seconds() == (4 * 2.0 / 2, True)
    remaining.finished(record("a", "x", 4.0))
    assert remaining.seconds() == (3 * 3.0 / 2, True)


def test_an_attack_is_scaled_from_the_row_with_the_most_similar_pass() -> None:
    """A pass takes 1 s on a, 10 s on b, 20 s on c: x on c takes twice what it takes on b."""
    known = [record("a", "clean", 2.0), record("b", "clean", 20.0), record("c", "clean", 40.0)]
    known += [record("a", "x", 3.0), record("b", "x", 50.0)]
    assert RemainingTime([NamedJob("c", "x")], known).seconds() == (pytest.approx(100.0), True)
    assert RemainingTime([NamedJob("c", "x")], known[:4]).seconds() == (pytest.approx(60.0), True)


def test_rows_of_the_other_kind_tell_nothing() -> None:
    """An attack passes each image many times through the random a and c, and breaks b at once."""
    known = [record("a", "clean", 8.0, MANY), record("b", "clean", 4.0), record("c", "clean", 16.0, MANY)]
    known.append(record("b", "x", 7.0))
    assert RemainingTime([NamedJob("c", "x")], known).seconds() == (0.0, False)
    known.append(record("a", "x", 30.0, MANY))
    assert RemainingTime([NamedJob("c", "x")], known).seconds() == (pytest.approx(60.0), True)


def test_jobs_of_which_nothing_is_known_make_a_lower_bound() -> None:
    jobs = [NamedJob("a", "x"), NamedJob("b", "z")]
    assert RemainingTime(jobs, [record("a", "x", 2.0)]).seconds() == (2.0, False)


def test_finished_jobs_do_not_remain() -> None:
    remaining = RemainingTime([NamedJob("a", "x"), NamedJob("a", "y")])
    remaining.finished(record("a", "x", 2.0))
    remaining.finished(record("a", "y", 2.0))
    assert remaining.seconds() == (0.0, True)


def test_clean_jobs_come_first_within_their_block() -> None:
    jobs = [NamedJob(row, attack, block) for block in range(2) for row in "ab" for attack in ("clean", "x")]
    ordered = [(job.block, job.name, job.label) for job in clean_first(jobs)]  # type: ignore[arg-type, list-item]
    assert ordered == [
        *[(0, "a", "clean"), (0, "b", "clean"), (0, "a", "x"), (0, "b", "x")],
        *[(1, "a", "clean"), (1, "b", "clean"), (1, "a", "x"), (1, "b", "x")],
    ]


def test_a_run_begins_with_the_clean_jobs(tmp_path: Path) -> None:
    attacks = {"square": {"use": "square(queries=5)"}, "clean": {"use": "clean"}}
    defenses = {"none": "none", "blur": "gaussian-blur"}
    board = load_board(write_board(tmp_path, images=2, block=2, attacks=attacks, defenses=defenses))
    ran: list[str] = []
    run_board(board, tmp_path / "s", workers=1, progress=lambda done, total, one: one and ran.append(one.attack))
    assert ran[:2] == ["clean", "clean"]
    assert len(ran) == 6
