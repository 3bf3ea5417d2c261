"""Tests that a claim sees the warnings that a run shows from the same results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from purebench.boards.board import DefenseChoice
from purebench.core.registry import Spec
from purebench.results.attack_result import AttackResult
from purebench.results.files.export import load_result
from purebench.results.grading.criteria.letters import Letter
from purebench.results.results import DefenseResult
from purebench.testing.failure_report import Evidence
from purebench.testing.question import against, letter_of

FOUND = Path("leaderboards/boards/fashion-quick/results/trades.json")


def evidence(found: DefenseResult) -> Evidence:
    nothing: Any = None
    row = DefenseChoice("trades", Spec("trades"))
    return Evidence(row, "trades", "fashion-quick", nothing, seen=(nothing, found))


def changed(found: DefenseResult, **values: Any) -> DefenseResult:
    """Return the result with other values in the attacks that have them, one value for each image."""

    def other(attack: AttackResult) -> AttackResult:
        told = {name: (value,) * len(attack.outcomes) for name, value in values.items() if getattr(attack, name)}
        return replace(attack, **told)

    return replace(found, attacks=tuple(map(other, found.attacks)))


def test_nothing_speaks_against_a_sound_evaluation() -> None:
    assert not against(evidence(load_result(FOUND)).grade)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"claims": 1}, "report a success"),
        ({"nearest": None}, "without a limit of the distance"),
    ],
)
def test_indicators_of_attack_failure_leave_a_claim_undecided(values: dict[str, Any], words: str) -> None:
    seen = evidence(changed(load_result(FOUND), **values))
    assert letter_of(seen.grade) is Letter.D
    assert any(words in str(one) for one in against(seen.grade))
    assert any(words in str(one) for one in seen.warnings)
