"""Tests the comparisons of attack strength on simulated results with a known number of robust images."""

from __future__ import annotations

import pytest

from purebench.checks.attack_strength import (
    beats_black_box,
    beats_blind,
    does_not_rise,
    falls_with_radius,
    more_draws,
    more_steps,
    reaches_zero,
    stronger_view,
)
from purebench.checks.attack_variants import BLACK, BLIND, BPDA, FEW, MANY, TRANSFER
from purebench.checks.finding import CheckStatus, Suspicion, judged
from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult, WorstCase
from purebench.results.results import DefenseResult

IMAGES, TOLERANCE = 48, 0.2
NO_PICK = WorstCase(
    picked=(None,) * IMAGES,
    outcomes=(Outcome.ERRORED,) * IMAGES,
    draws=("",) * IMAGES,
    distances=(None,) * IMAGES,
    reasons=("these tests compare attacks with each other",),
    notes=(),
    forwards=0,
)


def found(draws: int = 1, **held: int) -> DefenseResult:
    """Returns a result in which the first `count` images are robust to each attack; -1: skipped, -2: errored."""
    attacks = []
    for name, count in held.items():
        kind = {-1: Outcome.SKIPPED, -2: Outcome.ERRORED}.get(count)
        outcomes = [kind or (Outcome.ROBUST if i < count else Outcome.MISCLASSIFIED) for i in range(IMAGES)]
        answers = ["" if kind else ("1" if i < count else "0") * draws for i in range(IMAGES)]
        attacks.append(
            AttackResult(
                name=name.replace("_", "-"),
                spec={"name": "apgd", "params": {}},
                gradient="exact",
                eot=1,
                source=None,
                outcomes=tuple(outcomes),
                draws=tuple(answers),
                distances=(0.0,) * IMAGES,
                nearest=(),
                claims=(),
                reasons=(),
                skips=(),
                notes=(),
                forwards=0,
                backwards=0,
                pictures=(),
                seconds={},
            )
        )
    board = {"verify": {"draws": draws}, "confidence": 0.95, "cascade": False, "attacks": {}}
    spec, images = {"name": "x", "params": {}}, tuple(range(IMAGES))
    labels = (0,) * IMAGES
    return DefenseResult(board, "x", spec, draws > 1, 0, "", images, labels, True, tuple(attacks), NO_PICK, {})


def result(suspicion: Suspicion) -> CheckStatus:
    return judged([suspicion], 0.05)[0].result


def held(**attacks: int) -> DefenseResult:
    return found(
        **{
            {"blind": BLIND, "black": BLACK, "transfer": TRANSFER, "bpda": BPDA, "many": MANY}[k]: v
            for k, v in attacks.items()
        }
    )


def test_white_box_attacks_must_be_as_strong_as_blind_and_black_box_attacks() -> None:
    for many, other, expected in ((8, 8, "holds"), (8, 40, "holds"), (40, 8, "fails"), (14, 8, "undecided")):
        blind = beats_blind(held(blind=other, many=many, bpda=-1), TOLERANCE, purifies=True)
        black = beats_black_box(held(black=other, many=many, bpda=IMAGES), TOLERANCE)
        assert (result(blind), result(black)) == (expected, expected)
    assert (
        "with knowledge of the purifier 83.3 %, against the classifier alone 16.7 %"
        in beats_blind(held(blind=8, many=40), TOLERANCE, purifies=True).sentence
    )


def test_the_stronger_of_two_attacks_is_compared_and_errored_attacks_are_ignored() -> None:
    assert result(beats_black_box(held(black=40, transfer=8, many=40), TOLERANCE)) is CheckStatus.FAILS
    assert result(beats_black_box(held(black=40, transfer=40, many=8), TOLERANCE)) is CheckStatus.HOLDS
    assert result(beats_black_box(held(transfer=8, many=40), TOLERANCE)) is CheckStatus.FAILS
    assert result(beats_black_box(held(black=16, many=44, bpda=8), TOLERANCE)) is CheckStatus.HOLDS
    assert result(beats_black_box(held(black=16, many=44, bpda=-2), TOLERANCE)) is CheckStatus.FAILS
    assert result(beats_black_box(held(black=16, many=-2, bpda=-1), TOLERANCE)) is CheckStatus.NOT_APPLICABLE


def test_checks_do_not_apply_without_a_purifier_or_randomness() -> None:
    assert result(beats_blind(held(blind=1, many=20), TOLERANCE, purifies=False)) is CheckStatus.NOT_APPLICABLE
    assert result(more_draws(held(many=20), TOLERANCE)) is CheckStatus.NOT_APPLICABLE


def test_more_draws_must_not_weaken_the_attack() -> None:
    assert result(more_draws(found(8, **{MANY: 4, FEW: 40}), TOLERANCE)) is CheckStatus.HOLDS
    assert result(more_draws(found(8, **{MANY: 40, FEW: 4}), TOLERANCE)) is CheckStatus.FAILS


def test_an_unbounded_attack_breaks_every_image() -> None:
    assert [result(reaches_zero(held(many=n, bpda=-1), TOLERANCE)) for n in (0, 1, 24)] == [
        CheckStatus.HOLDS,
        CheckStatus.HOLDS,
        CheckStatus.FAILS,
    ]


def test_robust_accuracy_must_not_rise_with_the_radius() -> None:
    def curve(*counts: int) -> Suspicion:
        return does_not_rise({0.1 * (i + 1): held(many=count, bpda=-1) for i, count in enumerate(counts)}, TOLERANCE)

    assert result(curve(40, 20, 4)) is CheckStatus.HOLDS
    assert result(curve(40, 4, 40)) is CheckStatus.FAILS
    assert result(curve(8, 14, 14)) is CheckStatus.UNDECIDED
    assert result(curve(-1, -1, 10)) is CheckStatus.NOT_APPLICABLE
    assert curve(40, 20, 4).sentence == "83.3 % at radius 0.1, 41.7 % at radius 0.2, 8.3 % at radius 0.3"


@pytest.mark.parametrize(
    ("near", "far", "expected"),
    [
        (40, 0, "holds"),
        (40, 4, "holds"),
        (0, 0, "holds"),
        (40, 40, "fails"),
        (36, 30, "fails"),
        (-1, 0, "not applicable"),
    ],
)
def test_robust_accuracy_must_fall_far_beyond_the_radius(near: int, far: int, expected: str) -> None:
    suspicion = falls_with_radius(held(many=near, bpda=-1), held(many=far, bpda=-1), 0.4)
    assert result(suspicion) == expected


@pytest.mark.parametrize(("short", "long", "expected"), [(24, 24, "holds"), (24, 22, "holds"), (40, 10, "fails")])
def test_more_steps_must_not_break_many_more_images(short: int, long: int, expected: str) -> None:
    for name in (MANY, BPDA):
        suspicion = more_steps(found(**{MANY: short, BPDA: short}), found(**{name: long}), TOLERANCE)
        assert result(suspicion) == expected
        assert f"under {name}" in suspicion.sentence


def test_the_stronger_gradient_mode_is_chosen_for_more_steps() -> None:
    assert stronger_view(held(many=8, bpda=20)) == "exact"
    assert stronger_view(held(many=20, bpda=8)) == "bpda"
    assert stronger_view(held(many=-1, bpda=8)) == "bpda"
