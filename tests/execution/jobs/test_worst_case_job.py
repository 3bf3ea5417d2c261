"""Tests of worst-case jobs: the picked adversarial examples, their scores on fresh draws, and failing images."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from purebench.boards.board import Board
from purebench.boards.jobs import WorstCaseJob
from purebench.boards.parse import load_board
from purebench.core.seeds import seeded
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.jobs import worst_case_job
from purebench.execution.jobs.job_record import JobResult
from purebench.execution.jobs.worst_case_job import NOTHING_ANSWERED, run_worst_case
from purebench.records import store
from purebench.records.outcome import ANSWERED, WORST_CASE, Outcome
from purebench.records.record import Record
from purebench.statistics import RUNGS

from boards import write_board  # isort: skip

MARKED = '''
import torch
from purebench.core.defense import Defense, Purifier


class Marked(Purifier):
    """Fails where the first pixel is 0.5; adds a little noise elsewhere."""

    random = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bad = (x[:, 0, 0, 0] == 0.5).view(-1, 1, 1, 1)
        return torch.where(bad, torch.nan, (x + 0.01 * torch.randn_like(x)).clamp(0, 1))


def marked() -> Marked:
    """Made for the board."""
    return Marked()
'''


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, dict[tuple[str, str, int], Record], Path]:
    folder = tmp_path_factory.mktemp("board")
    board = load_board(write_board(folder, images=12, block=6))
    _, records = run_board(board, folder / "s", workers=1)
    return board, {(one.defense, one.attack, one.block): one for one in records}, folder / "s"


def test_the_pick_of_a_deterministic_row_is_wrong_if_any_attack_succeeds(ran: tuple) -> None:
    board, records, _ = ran
    for block in range(board.blocks):
        found = records["none", WORST_CASE, block]
        attacks = [records["none", attack.name, block] for attack in board.attacks]
        for row, outcome in enumerate(found.outcomes):
            broken = [one.attack for one in attacks if one.outcomes[row] is Outcome.MISCLASSIFIED]
            assert outcome is (Outcome.MISCLASSIFIED if broken else Outcome.ROBUST)
            assert found.draws[row] == "01"[not broken]
            assert found.picked[row] == (broken[0] if broken else "clean")


def test_picked_images_are_those_of_the_picked_attack(ran: tuple) -> None:
    _, records, path = ran
    with store.reading(path) as saved:
        for (defense, attack, block), found in records.items():
            if attack != WORST_CASE:
                continue
            images = saved.adversarial(found.key)
            assert images is not None
            for row, name in enumerate(found.picked):
                its = saved.adversarial(records[defense, str(name), block].key)
                assert its is not None
                assert np.array_equal(images[row], its[row])
                assert found.distances[row] == records[defense, str(name), block].distances[row]


def test_attacks_without_effect_do_not_lower_the_score(tmp_path: Path) -> None:
    """The minimum of three noisy accuracies is far below their mean; fresh draws agree with the mean."""
    threat = {"norm": "linf", "radius": "0.1/255"}
    coin = {"coin": f"{tmp_path}/defenses.py:coin"}
    board = load_board(write_board(tmp_path, images=12, block=6, threat=threat, defenses=coin))
    _, records = run_board(board, tmp_path / "s", workers=1)
    columns = np.array(
        [
            [draws.count("1") / 6 for one in records if one.attack == attack.name for draws in one.draws]
            for attack in board.attacks
        ]
    )
    fresh = "".join(draws for one in records if one.attack == WORST_CASE for draws in one.draws)
    assert len(fresh) == 12 * board.fresh
    share, error = fresh.count("1") / len(fresh), np.sqrt(0.25 / len(fresh) + 0.25 / (columns.size * 6))
    assert abs(share - columns.mean()) < 5 * error
    assert columns.min(axis=0).mean() < share - 0.1


def test_picking_and_scoring_use_separate_random_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rung and the fresh draws have separate seeds, which differ from those of the attack jobs."""
    coin = {"coin": f"{tmp_path}/defenses.py:coin"}
    context = prepare(load_board(write_board(tmp_path, images=4, block=4, defenses=coin)))
    *attacks, job = context.jobs()
    clean = context.images.floats()
    words: list[tuple[str, ...]] = []

    def noted(*of: str, device: object = None) -> AbstractContextManager[int]:
        words.append(of)
        return seeded(*of)

    monkeypatch.setattr(worst_case_job, "seeded", noted)
    found = [_answered(one.key, one.label, clean, "011011") for one in attacks]
    assert isinstance(job, WorstCaseJob)
    run_worst_case(job, context, found)
    assert len(words) == len(set(words)) == len(RUNGS) + 1
    assert {of[0] for of in words} == {job.stream}
    assert job.stream not in {one.stream for one in attacks}


def test_another_seed_gives_other_fresh_draws(ran: tuple, tmp_path: Path) -> None:
    board, records, _ = ran
    coin = tuple(row for row in board.defenses if row.name == "coin")
    other = replace(board, seed=1, defenses=coin, dataset=replace(board.dataset, images=6))
    _, found = run_board(other, tmp_path / "s", workers=1)
    (again,) = (one for one in found if one.attack == WORST_CASE)
    assert again.draws != records["coin", WORST_CASE, 0].draws


def test_a_failing_image_makes_only_that_image_errored(tmp_path: Path) -> None:
    (tmp_path / "marked.py").write_text(MARKED, encoding="utf-8")
    defenses = {"marked": f"{tmp_path}/marked.py:marked"}
    board = load_board(write_board(tmp_path, images=4, block=4, defenses=defenses))
    context = prepare(board)
    jobs = context.jobs()
    (job,) = (one for one in jobs if isinstance(one, WorstCaseJob))
    clean = context.images.floats()
    poisoned = clean.copy()
    poisoned[2, 0, 0, 0] = 0.5
    attacks = [one for one in jobs if not isinstance(one, WorstCaseJob)]
    found = [_answered(attack.key, attack.label, clean, "111111") for attack in attacks]
    found[1] = _answered(attacks[1].key, attacks[1].label, poisoned, "000000")
    record = run_worst_case(job, context, found).record
    assert [outcome is Outcome.ERRORED for outcome in record.outcomes] == [False, False, True, False]
    assert "NaN" in record.reasons[2]
    assert [bool(reason) for reason in record.reasons] == [False, False, True, False]
    assert all(len(draws) == board.fresh for row, draws in enumerate(record.draws) if row != 2)


def test_images_without_an_answer_are_errored_or_skipped(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path, images=4, block=4, defenses={"none": "none"}))
    context = prepare(board)
    (job,) = (one for one in context.jobs() if isinstance(one, WorstCaseJob))
    for outcome, reason in ((Outcome.ERRORED, NOTHING_ANSWERED), (Outcome.SKIPPED, "no attack of the board applies")):
        found = [_gone(outcome) for _ in board.attacks]
        record = run_worst_case(job, context, found).record
        assert record.outcomes == [outcome] * 4
        assert record.reasons == [reason] * 4
        assert record.picked == [None] * 4
        assert not set(record.outcomes) & set(ANSWERED)


def _answered(key: str, attack: str, images: np.ndarray, draws: str) -> JobResult:
    outcome = Outcome.ROBUST if "1" in draws else Outcome.MISCLASSIFIED
    count = len(images)
    record = Record(
        key, "small", "marked", attack, 0, [0] * count, [0] * count, [outcome] * count, [draws] * count, [0.0]
    )
    return JobResult(record, images)


def _gone(outcome: Outcome) -> JobResult:
    return JobResult(Record("k", "small", "none", "a", 0, [0] * 4, [0] * 4, [outcome] * 4, [""] * 4, [None] * 4))
