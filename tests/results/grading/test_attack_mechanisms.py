"""Tests the mechanism of attacks that reuse the images of another row: they have one only if an attack searched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from purebench.attacks.mechanisms import Mechanism
from purebench.results.grading.attack_mechanisms import mechanisms_of
from purebench.results.grading.convergence import convergence
from purebench.results.grading.criteria.letters import Code
from purebench.results.grading.grade import grade
from purebench.results.results import DefenseResult

from ladders import ladder_results  # isort: skip
from synthetic import make_results  # isort: skip

TRANSFER = (Mechanism.TRANSFER,)


def row(source: dict[str, Any]) -> DefenseResult:
    """Returns a row with a transfer that reuses the images of this attack of another row."""
    answers = {name: ["1"] * 8 for name in ("clean", "other", "transfer")}
    (found,) = make_results({"row": answers}, draws=1, block=8)[2]
    attacks = {**found.board["attacks"], "other": {**found.board["attacks"]["other"], **source}}
    reused = {"defense": "row", "attack": "other"}
    clean, other, transfer = found.attacks
    return replace(
        found, board={**found.board, "attacks": attacks}, attacks=(clean, other, replace(transfer, source=reused))
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"use": "apgd", "gradient": "exact"}, TRANSFER),
        ({"use": "square", "gradient": "none"}, TRANSFER),
        ({"use": {"sequence": {"parts": [{"use": "apgd", "gradient": "bpda"}]}}, "gradient": "none"}, TRANSFER),
        ({"use": "random-noise", "gradient": "none"}, ()),
        ({"use": {"sequence": {"parts": [{"use": "random-noise"}]}}, "gradient": "none"}, ()),
        ({"use": "clean", "gradient": "none"}, ()),
        ({"use": "transfer", "source": {"defense": "row", "attack": "clean"}}, ()),
        ({"use": "transfer", "source": {"defense": "row", "attack": "other"}}, ()),  # of itself
    ],
)
def test_the_reuse_of_images_that_no_attack_searched_for_is_no_mechanism(
    source: dict[str, Any], expected: tuple[Mechanism, ...]
) -> None:
    found = row(source)
    assert mechanisms_of(found, found.attacks[2]) == expected
    assert ("transfer" in str(grade(found).adequacy.reasons)) == bool(expected)


def test_reused_noise_is_not_the_other_mechanism_that_convergence_needs() -> None:
    falls = {"random-noise": 10, "rung-1": 45, "rung-2": 50, "rung-3": 50, "rung-4": 50, "transfer": 30}
    own, ladder = ladder_results(falls, skipped=("square", "surrogate"))
    found = convergence(own, ladder)
    assert found is not None
    assert found.status == "converged"
    attacks = ladder.board["attacks"]
    margin = {**attacks["margin"], "use": "random-noise", "gradient": "none"}
    noise = convergence(own, replace(ladder, board={**ladder.board, "attacks": {**attacks, "margin": margin}}))
    assert noise is not None
    assert noise.status == "undecided"
    assert "none applies" in noise.reason
    assert Code.CONVERGENCE in {reason.code for reason in grade(own, convergence=noise).reasons}
