"""Tests that the score of an image depends only on its own fresh draws, so adding images does not change it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.core.errors import PurebenchError
from purebench.execution.incremental import Limits, Runner, steps
from purebench.records.outcome import Outcome
from purebench.results.scores import per_image, under

from claimed import write_claimed  # isort: skip


def test_adding_images_in_whole_blocks_does_not_change_scores(tmp_path: Path) -> None:
    path = write_claimed(tmp_path, images=20)
    board = choose(str(path), [f"{tmp_path}/own.py:smooth"], None)
    sizes = [part.dataset.images for part in steps(board, Limits())]
    assert sizes == [8, 16, 20]
    few, many = (Runner(tmp_path / "store").result(part)[1] for part in list(steps(board, Limits()))[:2])
    assert per_image(few).tolist() == per_image(many)[:8].tolist()
    answers = [draws.count("1") / board.fresh for draws in many.worst_case.draws]
    assert per_image(many).tolist() == answers
    assert {len(draws) for draws in many.worst_case.draws} == {board.fresh}
    assert 0 < np.mean(answers) < 1


def test_a_deterministic_defense_scores_1_where_every_attack_fails(tmp_path: Path) -> None:
    board = choose(str(write_claimed(tmp_path, images=8)), ["none"], None)
    _, found = Runner(tmp_path / "store").result(board)
    right = np.stack([found.right(attack)[:, 0] for attack in found.attacks])
    assert per_image(found).tolist() == right.all(axis=0).tolist()
    assert under(found, found.attacks).tolist() == right.all(axis=0).tolist()
    with pytest.raises(PurebenchError, match="expected an attack that applies to every image"):
        under(found, [])


def test_errored_images_have_the_given_score_and_images_without_an_attack_are_rejected(tmp_path: Path) -> None:
    board = choose(str(write_claimed(tmp_path, images=8)), [f"{tmp_path}/own.py:crash"], None)
    _, found = Runner(tmp_path / "store").result(board)
    assert [per_image(found, errored=value).tolist() for value in (0.0, 1.0)] == [[0.0] * 8, [1.0] * 8]
    nothing = replace(found.worst_case, outcomes=(Outcome.SKIPPED,) * 8)
    attacks = tuple(replace(attack, outcomes=nothing.outcomes) for attack in found.attacks)
    with pytest.raises(PurebenchError, match="expected an attack that applies to every image"):
        per_image(replace(found, attacks=attacks, worst_case=nothing))


def test_steps_grow_with_the_images_so_far_up_to_the_limit(tmp_path: Path) -> None:
    board = load_board(write_claimed(tmp_path, images=800))
    sizes = [part.dataset.images for part in steps(board, Limits(500))]
    assert sizes[:8] == [8 * n for n in range(1, 9)]
    assert sizes[-1] == 500
    assert all(later - before <= max(8, before / 8 + 8) for before, later in pairwise(sizes))
    assert [part.dataset.images for part in steps(board, Limits(3))] == [3]
