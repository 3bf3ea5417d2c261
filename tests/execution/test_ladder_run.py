"""Tests of ladders and growing effort as they are run, on a toy board whose robust accuracy is one half."""

import pytest

from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import WarningCode
from purebench.execution import auto_effort
from purebench.execution.auto_effort import run_at_effort
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_board
from purebench.execution.companions import companion_boards
from purebench.leaderboards import page as board_page
from purebench.results.files.stored_board import from_store, unlisted
from purebench.results.grading.convergence import convergences
from purebench.results.grading.evidence import ConvergenceStatus
from purebench.results.grading.failure_indicators import failure_indicators
from purebench.results.merge import merge

from toy_board import write_toy  # isort: skip


class Ran:
    """Counts the jobs that are run."""

    def __init__(self):
        self.jobs = []

    def __call__(self, done, total, record):
        if record is not None:
            self.jobs.append((record.defense, record.attack))


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    """The results of both rows on their own board and on the board of the ladder."""
    folder = tmp_path_factory.mktemp("toy")
    board = load_board(write_toy(folder, effort={}))
    own = merge(board, run_board(board, folder / "store.sqlite", compute=Compute(workers=1))[1])
    (derived,) = companion_boards(board)
    ladders = merge(derived, run_board(derived, folder / "store.sqlite", compute=Compute(workers=1))[1])
    return board, own, ladders


def test_a_linear_classifier_converges_to_its_known_robust_accuracy(climbed):
    _, own, ladders = climbed
    found = convergences(own, ladders)["linear"]
    assert found.status is ConvergenceStatus.CONVERGED
    # random noise moves the sum by 0.05 * 8 / sqrt(3) = 0.23, and the smallest margin is 0.5 * 0.05 * 64 = 1.6
    assert [rung.accuracy.value for rung in found.rungs] == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert [rung.passes for rung in found.rungs[1:]] == sorted(rung.passes for rung in found.rungs[1:])


def test_zero_gradients_are_flat_and_a_warning_although_transfer_breaks_the_row(climbed):
    _, own, ladders = climbed
    found = convergences(own, ladders)["shattered"]
    assert found.status is ConvergenceStatus.FLAT
    assert [rung.accuracy.value for rung in found.rungs] == [1.0] * 5
    assert found.difference.value == pytest.approx(0.5)
    codes = [warning.code for warning in failure_indicators(own[1], ladders[1])]
    assert {WarningCode.FLAT_LADDER, WarningCode.TRANSFER_ONLY, WarningCode.ZERO_GRADIENT} <= set(codes)
    assert WarningCode.FLAT_LADDER not in [warning.code for warning in failure_indicators(own[0], ladders[0])]


def test_the_page_shows_the_ladder_and_its_verdict_of_each_row(climbed):
    board, own, ladders = climbed
    page = board_page.render(board, own, ("a", "b"), {}, (), {"effort": ladders})
    assert "convergence: 1 of 2 rows converged; flat: shattered" in page
    assert page.count("<h3>Rising effort: ") == 2
    assert "Rising effort: converged</h3>" in page
    assert "Rising effort: flat</h3>" in page
    assert 'id="defense-linear-effort-title"' in page
    assert "<code>flat-ladder</code>" in page
    without = board_page.render(board, own, ("a", "b"), {})
    assert "Rising effort" not in without


def test_a_board_without_the_key_has_no_companion(tmp_path):
    assert companion_boards(load_board(write_toy(tmp_path))) == []


def test_auto_tells_the_warnings_of_every_level_once(tmp_path, monkeypatch):
    board, told, levels = load_board(write_toy(tmp_path, effort="auto")), [], []

    def run_board(part, path, *, tell, **options):
        tell("a row is not run")
        tell(f"a worker ended at level {len(levels)}")
        levels.append(part)
        return None, []

    monkeypatch.setattr(auto_effort, "run_board", run_board)
    monkeypatch.setattr(auto_effort, "unfinished", lambda board, levels: [] if len(levels) == 3 else ["row"])
    run_at_effort(board, tmp_path / "store", tell=told.append)
    assert [line for line in told if not line.startswith("effort")] == [
        "a row is not run",
        *(f"a worker ended at level {level}" for level in range(3)),
    ]


def test_auto_stops_after_two_doublings_that_change_nothing_and_uses_all_stored_records(tmp_path):
    plain, auto = load_board(write_toy(tmp_path)), load_board(write_toy(tmp_path, effort="auto"))
    store, told = tmp_path / "store.sqlite", []
    (before, _) = merge(plain, run_board(plain, store, compute=Compute(workers=1))[1])
    first = Ran()
    reached, _, records = run_at_effort(
        auto, store, compute=Compute(workers=1), keep_rows=True, progress=first, tell=told.append
    )
    rows, jobs = ("linear", "shattered"), ("apgd-x2", "apgd-x4", "worst-case")
    assert set(first.jobs) == {(row, job) for row in rows for job in jobs}
    assert [line for line in told if line.startswith("effort")] == [
        f"effort: the attacks are doubled to {times} times the board's, because of linear, shattered"
        for times in (2, 4)
    ]
    linear, shattered = merge(reached, records)
    assert (linear.robust.value, shattered.robust.value) == (0.5, 1.0)
    assert linear.provenance["effort"] == "auto: attacks of up to 4 times the effort of the board"
    assert "effort" not in before.provenance
    assert linear.attacks[:2] == before.attacks
    added = linear.attacks[2]
    assert [outcome.value for outcome in added.outcomes].count("skipped") == 40  # the images that apgd broke
    again = Ran()
    assert run_at_effort(auto, store, compute=Compute(workers=1), keep_rows=True, progress=again)[2] == records
    assert again.jobs == []
    assert unlisted(store, "toy") == []  # the levels before the last one hide no rows
    assert from_store(store, "toy")[0].attacks == reached.attacks


def test_auto_ends_at_its_budget(tmp_path):
    board = load_board(write_toy(tmp_path, effort={"auto": True, "budget": 5}))
    reached, _, records = run_at_effort(board, tmp_path / "store.sqlite", compute=Compute(workers=1))
    assert reached == board
    assert merge(reached, records)[0].provenance["effort"].endswith("up to 1 times the effort of the board")


def test_auto_refuses_a_stopping_rule(tmp_path):
    board = load_board(write_toy(tmp_path, effort="auto", stop={"max_images": 40}))
    with pytest.raises(PurebenchError, match="expected no stopping rule and no budget of time beside auto"):
        run_at_effort(board, tmp_path / "store.sqlite", compute=Compute(workers=1))
