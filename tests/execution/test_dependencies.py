"""Tests of jobs that depend on others: transfers of adversarial examples, and cascades that skip broken images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from purebench.boards.board import Board
from purebench.boards.jobs import Job
from purebench.boards.parse import load_board, parse_board
from purebench.boards.selection import choose
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import WarningCode
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.early_checks import check_attacks
from purebench.execution.jobs.job_record import broken_before
from purebench.execution.scheduler import Queue
from purebench.records import store
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.records.record import Record

from boards import write_board  # isort: skip

ATTACKS = {
    "clean": {"use": "clean"},
    "apgd": {"use": "apgd(steps=4)", "gradient": "exact", "eot": 2},
    "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}},
    "square": {"use": "square(queries=5)"},
}


def board(folder: Path, **parts: object) -> Board:
    return load_board(write_board(folder, images=8, **{"attacks": ATTACKS} | parts))


def run(board: Board, path: Path, **options: object) -> dict[tuple[str, str, int], Record]:
    _, records = run_board(board, path, **options)  # type: ignore[arg-type]
    return {(record.defense, record.attack, record.block): replace(record, seconds={}) for record in records}


def backwards(jobs: Sequence[Job]) -> list[Job]:
    return list(reversed(jobs))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, Path, dict[tuple[str, str, int], Record]]:
    folder = tmp_path_factory.mktemp("needs")
    made = board(folder)
    return made, folder / "s", run(made, folder / "s", workers=1)


def test_transfer_uses_the_adversarial_examples_of_its_source(
    both: tuple[Board, Path, dict[tuple[str, str, int], Record]],
) -> None:
    _, path, found = both
    with store.reading(path) as saved:
        for block in (0, 1):
            reused = saved.adversarial(found["noise", "transfer", block].key)
            source = saved.adversarial(found["none", "apgd", block].key)
            assert reused is not None
            assert source is not None
            np.testing.assert_allclose(reused, source, atol=1e-6)
            assert found["noise", "transfer", block].distances == found["none", "apgd", block].distances
    own = found["none", "transfer", 0]
    assert own.outcomes == [Outcome.SKIPPED] * 4
    assert "its own images" in own.reason


def test_results_of_dependent_jobs_do_not_depend_on_order_or_workers(
    both: tuple[Board, Path, dict[tuple[str, str, int], Record]], tmp_path: Path
) -> None:
    made, _, found = both
    assert run(made, tmp_path / "s", workers=2, order=backwards) == found


def test_selecting_a_row_adds_its_transfer_source(tmp_path: Path) -> None:
    path = write_board(tmp_path, images=4, attacks=ATTACKS)
    chosen = choose(str(path), ["noise"], None)
    assert [row.name for row in chosen.defenses] == ["noise", "none"]
    assert [row.name for row in choose(str(path), ["none"], None).defenses] == ["none"]


def test_transfer_is_errored_if_its_source_failed(tmp_path: Path) -> None:
    attacks = {
        "bad": {"use": f"{tmp_path}/attacks.py:nan"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "bad"}},
    }
    found = run(board(tmp_path, attacks=attacks), tmp_path / "s", workers=1)
    assert found["none", "bad", 0].outcomes == [Outcome.ERRORED] * 4
    assert (
        found["noise", "transfer", 0].outcomes == [Outcome.ERRORED] * 4
    )  # not "does not apply": the result is unknown
    assert "no adversarial images to reuse: bad on none is errored" in found["noise", "transfer", 0].reason


def test_transfer_is_errored_on_images_whose_source_failed(tmp_path: Path) -> None:
    """Such an image has no adversarial example, and its clean image is not used as one."""
    (tmp_path / "some.py").write_text(
        "import torch\nfrom purebench import Knowledge\n"
        "class Some:\n    knowledge = Knowledge.NONE\n"
        "    def __call__(self, view, x, y, threat):\n"
        "        bright = x.flatten(1).mean(1) >= LIMIT\n"
        "        return torch.where(bright[:, None, None, None], torch.nan, x)\n"
        "def some(limit: float):\n    global LIMIT\n    LIMIT = limit\n    return Some()\n",
        encoding="utf-8",
    )
    attacks = {
        "bad": {"use": f"{tmp_path}/some.py:some(limit=0.18)"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "bad"}},
    }
    found = run(board(tmp_path, attacks=attacks), tmp_path / "s", workers=1)
    source, target = found["none", "bad", 0], found["noise", "transfer", 0]
    lost = [outcome is Outcome.ERRORED for outcome in source.outcomes]
    assert any(lost)
    assert not all(lost)
    assert [outcome is Outcome.ERRORED for outcome in target.outcomes] == lost
    for gone, draws, distance, reason in zip(lost, target.draws, target.distances, target.reasons, strict=True):
        assert (draws == "") == (distance is None) == gone
        assert ("no adversarial images to reuse: bad on none is errored" in reason) == gone


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"defense": "nome", "attack": "apgd"}, "did you mean 'none'"),
        ({"defense": "none", "attack": "apdg"}, "did you mean 'apgd'"),
        ({"defense": "none", "attack": "square"}, "expected an attack listed above transfer"),
        ({"defense": "none", "attack": "before"}, "without a source"),
        ({"defense": "none"}, "'attack', but it is missing"),
        ("none", "expected a mapping"),
    ],
)
def test_invalid_transfer_sources_are_rejected(tmp_path: Path, source: object, message: str) -> None:
    before = {"use": "transfer", "source": {"defense": "none", "attack": "clean"}}
    attacks = {
        "clean": ATTACKS["clean"],
        "before": before,
        **ATTACKS,
        "transfer": {"use": "transfer", "source": source},
    }
    with pytest.raises(PurebenchError, match=message):
        board(tmp_path, attacks=attacks)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ({"use": "transfer"}, "expected a source"),
        ({"use": "pgd", "source": {"defense": "none", "attack": "clean"}}, "pgd does not"),
    ],
)
def test_transfer_attacks_require_a_source_and_other_attacks_reject_one(
    tmp_path: Path, attack: object, message: str
) -> None:
    with pytest.raises(PurebenchError, match=message):
        check_attacks(board(tmp_path, attacks={"clean": {"use": "clean"}, "a": attack}))


def test_a_custom_attack_requires_a_source_if_found_has_no_default(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    source = "def needs(*, found):\n    return print\n\n\ndef may(*, found=None):\n    return print\n"
    file.write_text(source, encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected a source"):
        check_attacks(board(tmp_path, attacks={"clean": {"use": "clean"}, "a": {"use": f"{file}:needs"}}))
    check_attacks(board(tmp_path, attacks={"clean": {"use": "clean"}, "a": {"use": f"{file}:may"}}))


def test_the_key_of_a_job_depends_on_the_keys_of_its_dependencies(tmp_path: Path) -> None:
    made = board(tmp_path)
    stronger = replace(made.attacks[1], eot=3)
    changed = replace(made, attacks=(made.attacks[0], stronger, *made.attacks[2:]))

    def keys(board: Board) -> dict[tuple[str, str], str]:
        return {(job.defense.name, job.label): job.key for job in prepare(board).jobs() if job.block == 0}

    before, after = keys(made), keys(changed)
    assert before["noise", "transfer"] != after["noise", "transfer"]  # its source differs
    assert before["noise", "square"] == after["noise", "square"]
    before, after = keys(replace(made, cascade=True)), keys(replace(changed, cascade=True))
    assert before["noise", "clean"] == after["noise", "clean"]
    assert before["noise", "square"] != after["noise", "square"]  # the skipped images may differ


def test_broken_before_requires_every_draw_to_be_wrong() -> None:
    draws = ["0000", "0001", "0111", "", "0000"]
    outcomes = [Outcome.MISCLASSIFIED, Outcome.MISCLASSIFIED, Outcome.ROBUST, Outcome.SKIPPED, Outcome.ERRORED]
    record = SimpleNamespace(outcomes=outcomes, draws=draws)
    assert list(broken_before([SimpleNamespace(record=record, adversarial=np.zeros((5, 1)))])) == [0]


def test_a_cascade_skips_broken_images_and_finds_the_same_worst_case(tmp_path: Path) -> None:
    """The rows are deterministic, so that both results must agree image by image."""
    rows = {"none": "none", "blur": "gaussian-blur(sigma=1.0)"}
    attacks = {
        "clean": {"use": "clean"},
        "weak": {"use": "apgd(steps=2)", "gradient": "exact"},
        "strong": {"use": "pgd(steps=5)", "gradient": "exact"},
    }
    threat = {"norm": "linf", "radius": "3/255"}
    whole = board(tmp_path / "a", defenses=rows, attacks=attacks, threat=threat)
    full, spared = (
        run(made, tmp_path / name, workers=1) for made, name in ((whole, "s"), (replace(whole, cascade=True), "c"))
    )
    for row in rows:
        for block in (0, 1):
            broken_before = np.zeros(4, dtype=bool)
            worst: dict[str, list[bool]] = {}
            for name, found in (("full", full), ("cascade", spared)):
                tables = [
                    [o is Outcome.MISCLASSIFIED for o in found[row, attack, block].outcomes] for attack in attacks
                ]
                worst[name] = np.any(tables, axis=0).tolist()
            for attack in attacks:
                outcomes = spared[row, attack, block].outcomes
                assert [o is Outcome.SKIPPED for o in outcomes] == broken_before.tolist()
                broken_before |= [o is Outcome.MISCLASSIFIED for o in outcomes]
            assert worst["cascade"] == worst["full"]
    assert sum(r.forwards for r in spared.values()) < sum(r.forwards for r in full.values())
    partly = [r for r in spared.values() if 0 < r.outcomes.count(Outcome.SKIPPED) < 4]
    assert partly
    for record in partly:
        skipped = record.outcomes.count(Outcome.SKIPPED)
        assert (WarningCode.CONDITIONAL, skipped, 4) in [(one.code, one.count, one.of) for one in record.warnings]
        for outcome, draws, distance in zip(record.outcomes, record.draws, record.distances, strict=True):
            assert (outcome is Outcome.SKIPPED) == (draws == "") == (distance is None)


def test_cascade_skips_images_of_random_defenses_only_if_every_draw_was_wrong(tmp_path: Path) -> None:
    found = run(replace(board(tmp_path), cascade=True), tmp_path / "s", workers=2, order=backwards)
    order = list(ATTACKS)
    for (row, attack, block), record in found.items():
        if attack == WORST_CASE:
            continue
        earlier = [found[row, name, block] for name in order[: order.index(attack)]]
        for i, outcome in enumerate(record.outcomes):
            gone = any(e.outcomes[i] is Outcome.MISCLASSIFIED and "1" not in e.draws[i] for e in earlier)
            if gone:
                assert outcome is Outcome.SKIPPED
            elif outcome is Outcome.SKIPPED:
                assert record.attack == "transfer"
                assert row == "none"  # it does not transfer its own images
    some = [draws for record in found.values() for draws in record.draws if "0" in draws and "1" in draws]
    assert some  # images that are right on some draws are attacked further


def test_the_queue_waits_for_planned_dependencies_and_ignores_unplanned_ones(tmp_path: Path) -> None:
    jobs = [job for job in prepare(board(tmp_path)).jobs() if job.block == 0 and job.defense.name != "coin"]
    by_name = {(job.defense.name, job.label): job for job in jobs}
    source, waiting = by_name["none", "apgd"], by_name["noise", "transfer"]
    queue = Queue([waiting, source])
    assert queue.take() is source
    assert queue.take() is None
    queue.finish(source)
    assert queue.take() is waiting
    assert Queue([waiting]).take() is waiting
    assert Queue([waiting, source], done=[source.key]).take() is waiting


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("cascade", 1, "true or false"), ("attack_precision", "bf61", "did you mean 'bf16'")],
)
def test_invalid_cascade_and_attack_precision_are_rejected(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    with pytest.raises(PurebenchError, match=message):
        board(tmp_path, **{key: value})


def test_cascade_and_attack_precision_survive_conversion_to_a_dict(tmp_path: Path) -> None:
    made = board(tmp_path, cascade=True, attack_precision="bf16")
    assert parse_board(made.to_dict()) == made
