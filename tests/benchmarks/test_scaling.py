"""Tests the simulation of a board from recorded times, and the measurement of the speed-up at a small size."""

from __future__ import annotations

import argparse

import pytest

from purebench.boards.bundled import bundled
from purebench.boards.selection import choose
from purebench.execution.planning.makespan import simulate
from purebench.results.files.export import load_results


def test_the_simulated_jobs_have_the_recorded_times(script) -> None:
    results = load_results(bundled()["fashion-families"].parent / "results")
    images = {len(result.images) for result in results}
    (count,) = images
    tasks = script("scaling").recorded(choose("fashion-families", None, count), results)
    recorded = sum(sum(phases.values()) for result in results for phases in result.seconds.values())
    assert sum(task.seconds for task in tasks) == pytest.approx(recorded)
    assert simulate(tasks, 1).seconds == pytest.approx(recorded)
    keys = {task.key for task in tasks}
    assert len(keys) == len(tasks)
    assert {key for task in tasks for key in task.needs} <= keys
    longer = script("scaling").recorded(choose("fashion-families", None, 2 * count), results)
    assert sum(task.seconds for task in longer) == pytest.approx(2 * recorded)


def test_what_limits_a_board_is_printed(script, capsys) -> None:
    assert script("scaling").main(["limits", "--images", "16"]) == 0
    told = capsys.readouterr().out
    assert "fashion-families" in told
    assert "limited by" in told


@pytest.mark.slow
def test_the_speed_up_is_measured(script, tmp_path) -> None:
    words = ["speedup", "--jobs", "6", "--block", "2", "--queries", "2", "--json", str(tmp_path / "f.json")]
    assert script("scaling").main([*words, "--least", "0", "--most-overhead", "1e9"]) == 0
    assert (tmp_path / "f.json").is_file()


def test_the_board_of_equal_jobs_has_as_many_blocks_as_requested(script) -> None:
    options = argparse.Namespace(jobs=7, block=3, queries=2)
    board = script("scaling").equal_jobs(options)
    assert (board.most_blocks, len(board.attacks), len(board.defenses)) == (7, 1, 1)
