"""Attacks whose strength is known, image by image."""

from __future__ import annotations

import numpy as np

from purebench.checks.attacks import BLACK, BLIND, BPDA, FEW, MANY
from purebench.checks.finding import Result, Suspicion, judged
from purebench.checks.strength import beats_black_box, beats_blind, falls_with_radius, more_draws, reaches_zero
from purebench.leaderboards.results import AttackResult, DefenseResult
from purebench.records import Outcome

IMAGES = 24


def found(draws: int = 1, **held: int) -> DefenseResult:
    """A defense that so many of the images hold against each attack, the first ones; -1: SKIPPED, -2: ERRORED."""
    attacks = []
    for name, count in held.items():
        kind = {-1: Outcome.SKIPPED, -2: Outcome.ERRORED}.get(count)
        outcomes = [kind or (Outcome.HELD if i < count else Outcome.BROKEN) for i in range(IMAGES)]
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
    return DefenseResult(board, "x", spec, draws > 1, 0, "", images, (0,) * IMAGES, True, tuple(attacks), provenance={})


def result(suspicion: Suspicion) -> Result:
    return judged([suspicion], 0.05)[0].result


def held(**attacks: int) -> DefenseResult:
    return found(**{{"blind": BLIND, "black": BLACK, "bpda": BPDA, "many": MANY}[k]: v for k, v in attacks.items()})


def test_knowing_more_must_not_help_the_defense() -> None:
    for many, other, expected in ((4, 4, "holds"), (4, 20, "holds"), (20, 4, "fails"), (6, 4, "undecided")):
        blind = beats_blind(held(blind=other, many=many, bpda=-1), purifies=True)
        black = beats_black_box(held(black=other, many=many, bpda=IMAGES))
        assert (result(blind), result(black)) == (expected, expected)
    assert (
        "83.3 % are left, attacking the classifier alone 16.7 %"
        in beats_blind(held(blind=4, many=20), purifies=True).sentence
    )


def test_the_better_of_two_attacks_counts_and_a_failed_one_does_not() -> None:
    assert result(beats_black_box(held(black=8, many=20, bpda=4))) is Result.HOLDS
    assert result(beats_black_box(held(black=8, many=20, bpda=-2))) is Result.FAILS
    assert result(beats_black_box(held(black=8, many=-2, bpda=-1))) is Result.NOT_APPLICABLE


def test_without_a_purifier_or_randomness_there_is_nothing_to_compare() -> None:
    assert result(beats_blind(held(blind=1, many=20), purifies=False)) is Result.NOT_APPLICABLE
    assert result(more_draws(held(many=20))) is Result.NOT_APPLICABLE


def test_more_draws_must_not_weaken_the_attack() -> None:
    assert result(more_draws(found(8, **{MANY: 2, FEW: 20}))) is Result.HOLDS
    assert result(more_draws(found(8, **{MANY: 20, FEW: 2}))) is Result.FAILS


def test_what_may_do_anything_leaves_nothing() -> None:
    assert [result(reaches_zero(held(many=n, bpda=-1))) for n in (0, 1, 3, 12)] == [
        Result.HOLDS,
        Result.HOLDS,
        Result.UNDECIDED,
        Result.FAILS,
    ]


def test_robustness_may_fall_with_the_radius_only() -> None:
    def curve(*counts: int) -> Suspicion:
        return falls_with_radius({0.1 * (i + 1): held(many=count, bpda=-1) for i, count in enumerate(counts)})

    assert result(curve(20, 10, 2)) is Result.HOLDS
    assert result(curve(20, 2, 18)) is Result.FAILS
    assert result(curve(4, 6, 6)) is Result.UNDECIDED
    assert result(curve(-1, -1, 5)) is Result.NOT_APPLICABLE
    assert curve(20, 10, 2).sentence == "83.3 % at 0.1, 41.7 % at 0.2, 8.3 % at 0.3"


def test_a_false_alarm_is_as_rare_as_promised() -> None:
    """Two attacks of equal strength on 400 boards: the check of one against the other fails in at most 5 % of them."""
    rng, alarms = np.random.default_rng(3), 0
    for _ in range(400):
        one, other = (int(n) for n in rng.binomial(IMAGES, 0.5, size=2))
        alarms += result(beats_blind(held(blind=one, many=other, bpda=-1), purifies=True)) is Result.FAILS
    assert alarms <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5
