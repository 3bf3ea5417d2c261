"""Tests that randomly mutated files give a one-line message, without a traceback, in bounded time and memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from refusing import refused

from purebench.boards.parse import load_board, parse_board
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import shown
from purebench.records import store
from purebench.results.files.export import load_result


@pytest.mark.parametrize(("kind", "count"), [("boards", 200), ("results", 200), ("stores", 50)])
def test_mutated_files_give_a_one_line_error(hostile: ModuleType, intact: Any, kind: str, count: int) -> None:
    """`python benchmarks/hostile_files.py` checks the full number of mutations."""
    found = hostile.fuzz(kind, count, 1, intact)
    assert found.faults == []
    assert found.read > count / 20  # some mutations are harmless
    assert found.refused > count / 2


@pytest.mark.slow
def test_many_mutated_files_give_a_one_line_error(hostile: ModuleType, intact: Any) -> None:
    for kind, count in (("boards", 2000), ("results", 2000), ("stores", 500)):
        assert hostile.fuzz(kind, count, 2, intact).faults == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "got 'a' twice"),
        ('{"a": NaN}', "expected finite numbers, but got NaN"),
        ('{"a": ' + "9" * 5000 + "}", "too many digits"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "[]," * 4_000_001, "expected at most 4,000,000 values"),
        ("{" + ",".join(f'"{number}": 1' for number in range(10_001)) + "}", "at most 10,000 keys"),
        ("{", "expected JSON"),
    ],
)
def test_hostile_json_is_rejected(text: str, message: str) -> None:
    refused(lambda: load_json(text), message)


def test_values_in_messages_are_shortened() -> None:
    for value in ("x" * 10**6, ["x" * 1000] * 1000, 10**6000, {str(number): number for number in range(1000)}):
        assert len(shown(value)) <= 200
    assert shown("\x1b[31m\ud800") == r"'\x1b[31m\ud800'"  # control characters and surrogates are escaped


def test_a_board_is_the_same_in_board_files_stores_and_results(sample: Any) -> None:
    """The board in a store and in a result is validated by the schema of board.yaml."""
    board = load_board(sample.boards)
    with store.reading(sample.stores) as saved:
        (definition, _) = saved.plans()["hostile"]
    assert parse_board(definition) == board
    kept = load_result(sample.results / "none.json").board
    assert {name: definition[name] for name in kept} == dict(kept)
