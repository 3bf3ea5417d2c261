"""Tests of boards on growing subsets: images and models are loaded once, and results equal those of separate runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.checks.attack_variants import Effort, for_radius
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.incremental import Limits, Runner, largest, steps
from purebench.records import store
from purebench.records.record import Record
from purebench.testing.fixture import Robustness
from purebench.testing.settings import Settings

from boards import write_board  # isort: skip
from claimed import write_claimed  # isort: skip


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The registry group of each object that was created from a spec."""
    made: list[str] = []
    create = registry.create

    def counted(group: str, *given: Any, **parameters: Any) -> Any:
        made.append(group)
        return create(group, *given, **parameters)

    monkeypatch.setattr(registry, "create", counted)
    return made


def only(path: Path, name: str) -> Board:
    return choose(str(path), [name], None)


def without_time(record: Record) -> dict[str, Any]:
    return {**asdict(record), "seconds": None}


def test_an_assertion_of_several_steps_builds_its_models_once(tmp_path: Path, built: list[str]) -> None:
    settings = Settings(store=tmp_path / "found", images=tmp_path / "images", board=write_claimed(tmp_path, images=24))
    claim = Robustness(settings).at_least("none", 0.5)
    assert claim.images > 8, "one step would not show whether models are built again"
    assert {group: built.count(group) for group in ("datasets", "classifiers", "defenses")} == {
        "datasets": 1,
        "classifiers": 1,
        "defenses": 1,
    }


def test_each_step_has_the_keys_and_records_of_a_separate_run(tmp_path: Path) -> None:
    board = only(write_claimed(tmp_path, images=20), f"{tmp_path}/own.py:smooth")
    runner = Runner(tmp_path / "shared.sqlite")
    runner.prepare(largest(board, Limits()))
    for number, part in enumerate(steps(board, Limits())):
        context, result = runner.result(part)
        alone, records = run_board(part, tmp_path / f"{number}.sqlite", workers=1)
        assert [job.key for job in context.jobs()] == [record.key for record in records]
        assert context.order.tolist() == alone.order.tolist()
        with store.reading(tmp_path / "shared.sqlite") as saved:
            shared = [saved.get(record.key) for record in records]
        assert [without_time(one) for one in shared if one] == [without_time(one) for one in records]
        assert len(result.images) == part.dataset.images


def test_only_variants_of_a_board_share_its_models(tmp_path: Path, built: list[str]) -> None:
    path = write_claimed(tmp_path, images=16)
    board = only(path, "none")
    context = prepare(board)
    before = len(built)
    other = for_radius(board, board.shown[0], Effort(), 0.1)
    assert context.covers(other)
    assert context.on(other).board == other
    assert context.on(other).defenses["none"] is context.defenses["none"]
    assert len(built) == before
    for unlike in (
        only(path, "trades"),
        replace(board, classifier=load_board(path).defenses[1].use),
        replace(board, dataset=replace(board.dataset, images=17)),
        replace(board, dataset=replace(board.dataset, seed=1)),
    ):
        assert not context.covers(unlike)


def test_a_variant_with_an_unbounded_radius_is_rejected(tmp_path: Path) -> None:
    board = only(write_claimed(tmp_path, images=8), "none")
    with pytest.raises(PurebenchError, match=r"threat\."):
        prepare(board).on(replace(board, threat=replace(board.threat, radius=2.0)))


DEFENSE = """
from pathlib import Path
from purebench import Function

def sometimes():
    def purify(x):
        if Path({flag!r}).exists():
            raise RuntimeError("no answer today")
        return x
    return Function(purify, random=False)
"""


def test_failed_jobs_are_run_again_on_request(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    (tmp_path / "own.py").write_text(DEFENSE.format(flag=str(flag)), encoding="utf-8")
    rows = {"sometimes": f"{tmp_path}/own.py:sometimes"}
    board = load_board(write_board(tmp_path, images=2, block=2, attacks={"clean": {"use": "clean"}}, defenses=rows))
    assert Runner(tmp_path / "s").result(board)[1].errored
    flag.unlink()
    assert Runner(tmp_path / "s").result(board)[1].errored
    assert not Runner(tmp_path / "s", retry_errors=True).result(board)[1].errored
