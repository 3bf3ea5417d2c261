"""Tests that a run stops at the first block after which the rule holds, for any order and number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.boards.board import Board, DatasetChoice, DefenseChoice, Stop
from purebench.boards.jobs import Job
from purebench.boards.parse import load_board, parse_board
from purebench.boards.selection import choose, parse_until
from purebench.cli.commands.show import print_stored
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.execution.board_run import run_board
from purebench.records import store
from purebench.records.outcome import WORST_CASE, Outcome
from purebench.records.record import Record
from purebench.results.files.export import export_results
from purebench.results.merge import merge
from purebench.results.stopping import ending
from purebench.statistics import Verdict, decided, interval

from boards import write_board  # isort: skip

ATTACKS = {"clean": {"use": "clean"}, "square": {"use": "square(queries=1)"}}


def exported(board: Board, records: list[Record], folder: Path) -> dict[str, bytes]:
    export_results(folder, merge(board, records))
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.json")) if path.name != "timings.json"}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    folder = tmp_path_factory.mktemp("board")
    rows = {"none": "none", "coin": f"{folder}/defenses.py:coin"}
    rule = {"half_width": 0.3, "max_images": 33}
    return load_board(write_board(folder, images=36, block=6, attacks=ATTACKS, defenses=rows, stop=rule))


@pytest.fixture(scope="module")
def expected(board: Board, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("expected")
    told: list[str] = []
    _, records = run_board(board, folder / "s", workers=1, tell=told.append)
    blocks = {record.block for record in records}
    assert blocks == set(range(len(blocks)))
    assert 1 < len(blocks) < board.most_blocks == 5
    assert told == [
        f"stopped after {len(blocks)} of 6 blocks ({6 * len(blocks)} of 36 images), {6 - len(blocks)} saved, because "
        "every interval is ± 30 points or shorter"
    ]
    found = merge(board, records)
    assert all(result.complete and len(result.images) == 6 * len(blocks) for result in found)
    estimates = [result.robust for result in found] + [result.clean for result in found]
    assert {one.method for one in estimates if one} == {"betting-sequence"}
    assert max(one.half_width for one in estimates[:2] if one) <= 0.3
    return exported(board, records, folder / "results")


def test_the_last_block_does_not_depend_on_workers_or_job_order(
    board: Board, expected: dict[str, bytes], tmp_path: Path
) -> None:
    def turned(jobs: Sequence[Job]) -> list[Job]:
        return list(reversed(jobs))

    for name, workers, order in (("two", 2, list), ("turned", 1, turned)):
        _, records = run_board(board, tmp_path / name, workers=workers, order=order)
        assert exported(board, records, tmp_path / f"{name}-results") == expected
    with store.reading(tmp_path / "turned") as saved:  # later blocks were run first: they are stored but not counted
        counted = {job for _, keys in saved.plans().values() for job in keys}
        kept = [key for (key,) in saved.connection.execute("SELECT key FROM records")]
    assert counted < set(kept)


def test_a_run_interrupted_at_every_third_job_ends_at_the_same_block(
    board: Board, expected: dict[str, bytes], tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    ran: list[str] = []

    def cut(done: int, total: int, record: Record | None) -> None:
        if record:
            ran.append(record.key)
            if len(ran) % 3 == 0:
                raise Cut

    for _ in range(100):
        try:
            _, records = run_board(board, tmp_path / "s", workers=1, progress=cut)
            break
        except Cut:
            pass
    assert len(ran) == len(set(ran)) == len(records)
    assert exported(board, records, tmp_path / "results") == expected


def test_results_of_a_finished_run_are_cut_at_the_same_block(
    board: Board, expected: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, everything = run_board(replace(board, stop=None), tmp_path / "s", workers=1)
    ran: list[Record] = []
    _, records = run_board(
        board, tmp_path / "s", workers=1, progress=lambda a, b, record: record and ran.append(record)
    )
    assert not ran
    assert len(records) < len(everything)
    assert exported(board, records, tmp_path / "results") == expected
    assert exported(board, everything, tmp_path / "cut") == expected
    print_stored(tmp_path / "s", None, None, None)
    assert f"small: {len(records)} of {len(records)} jobs" in capsys.readouterr().out
    print_stored(tmp_path / "s", "small", None, tmp_path / "shown")
    assert (tmp_path / "shown" / "coin.json").read_bytes() == expected["coin.json"]


def test_max_images_limits_a_run_to_whole_blocks(board: Board, tmp_path: Path) -> None:
    few = replace(board, stop=Stop(max_images=15), defenses=board.defenses[:1])
    told: list[str] = []
    _, records = run_board(few, tmp_path / "s", workers=1, tell=told.append)
    assert {record.block for record in records} == {0, 1}
    (result,) = merge(few, records)
    assert result.complete
    assert result.robust is not None
    assert result.robust.method == "clopper-pearson"  # the number of images was fixed before any result
    assert not told


def synthetic(answers: np.ndarray, block: int, rule: Stop) -> tuple[Board, list[Record]]:
    """Returns a board and its records from the answers [defenses, images] of deterministic defenses."""
    names = [f"row-{i}" for i in range(len(answers))]
    threat = parse_board(
        {
            "name": "b",
            "dataset": {"use": "fashion-mnist", "images": answers.shape[1], "block": block},
            "classifier": "fashion-resnet",
            "threat": {"norm": "linf", "radius": 0.1},
            "attacks": {"clean": {"use": "clean"}},
            "defenses": dict.fromkeys(names, "none"),
        }
    )
    data = DatasetChoice(Spec("fashion-mnist"), answers.shape[1], block)
    board = replace(threat, dataset=data, stop=rule, defenses=tuple(DefenseChoice(n, Spec("none")) for n in names))
    records = []
    for name, row in zip(names, answers, strict=True):
        for number in range(board.blocks):
            part = row[number * block : (number + 1) * block]
            outcomes = [Outcome.ROBUST if one else Outcome.MISCLASSIFIED for one in part]
            images = list(range(number * block, number * block + len(part)))
            draws = ["1" if one else "0" for one in part]
            facts = {"defense": {"random": False}}
            records.append(
                Record(
                    key=f"{name}{number}",
                    board="b",
                    defense=name,
                    attack=WORST_CASE,
                    block=number,
                    images=images,
                    labels=images,
                    outcomes=outcomes,
                    draws=draws,
                    distances=[0.0] * len(part),
                    provenance=facts,
                )
            )
    return board, records


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rule=st.sampled_from([Stop(half_width=0.2), Stop(decided=True), Stop(0.15, True), Stop(0.1, max_images=150)]),
)
def test_a_run_ends_at_the_first_block_after_which_the_rule_holds(seed: int, rule: Stop) -> None:
    rng = np.random.default_rng(seed)
    answers = rng.random((3, 193)) < np.array([[0.9], [0.6], [0.1]])
    board, records = synthetic(answers, 16, rule)
    rng.shuffle(records)  # type: ignore[arg-type]
    found = ending(board, records)
    total, by_hand = board.images_of(board.most_blocks), None
    for blocks in range(1, board.most_blocks + 1):
        seen = answers[:, : min(16 * blocks, 193)].astype(float)
        short = rule.half_width is None or all(
            interval(row, "betting-sequence").half_width <= rule.half_width for row in seen
        )
        told = not rule.decided or all(pair.verdict is not Verdict.OPEN for pair in decided(seen, total))
        if short and told:
            by_hand = blocks
            break
    assert (found.blocks if found else None) == by_hand
    if found:
        assert ending(board, [r for r in records if r.block < found.blocks]) == found
        assert ending(board, [r for r in records if r.block < found.blocks - 1]) is None
        lacking = [r for r in records if (r.defense, r.block) != ("row-1", 0)]
        assert ending(board, lacking) is None


@pytest.mark.parametrize(
    ("texts", "told"), [(["half-width"], "half-width=H"), (["half-width=0.7"], "0, 0.5"), (["soon"], "'soon'")]
)
def test_invalid_stopping_rules_are_rejected(texts: list[str], told: str) -> None:
    with pytest.raises(PurebenchError, match=told):
        parse_until(texts, None, None)


def test_a_stopping_rule_of_the_command_line_replaces_that_of_the_board() -> None:
    own = Stop(half_width=0.1, max_images=100)
    assert parse_until(None, None, own) == own
    assert parse_until(["decided"], None, own) == Stop(None, True, 100)
    assert parse_until(["half-width=0.02", "decided"], 50, own) == Stop(0.02, True, 50)
    assert parse_until(None, None, None) is None
    chosen = choose("fashion-quick", None, None, until=["decided"], max_images=24)
    assert chosen.stop == Stop(decided=True, max_images=24)
    assert parse_board(chosen.to_dict()) == chosen
    with pytest.raises(PurebenchError, match="at least 2 defenses"):
        choose("fashion-quick", ["none"], None, until=["decided"])
    with pytest.raises(PurebenchError, match="one block of 24 images"):
        choose("fashion-quick", None, None, max_images=5)


def test_a_row_that_is_added_to_a_stopped_run_is_run(board: Board, expected: dict[str, bytes], tmp_path: Path) -> None:
    first = replace(board, defenses=board.defenses[:1])
    run_board(first, tmp_path / "s", workers=1)
    _, records = run_board(board, tmp_path / "s", workers=1)
    assert {record.defense for record in records} == {"none", "coin"}
    assert exported(board, records, tmp_path / "results") == expected


def test_a_single_row_is_never_decided(board: Board, tmp_path: Path) -> None:
    """Without a pair to compare, "all pairs are decided" would hold at once."""
    alone = replace(board, defenses=board.defenses[:1], stop=Stop(decided=True, max_images=24))
    _, records = run_board(alone, tmp_path / "s", workers=1)
    assert {record.block for record in records} == set(range(4))
    assert ending(alone, records) is None
