"""Tests the scores of controls against numbers computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, binom

from purebench.boards.board import AttackChoice, Board, Source
from purebench.boards.selection import label
from purebench.core.answers import ControlFacts, ImageTruth
from purebench.core.registry import Spec
from purebench.records.outcome import Outcome
from purebench.results.files.companions import (
    companions_in_store,
    export_companions,
    load_companions,
    load_declared,
    score_to_dict,
)
from purebench.results.grading.control_scores import recovery, score_controls
from purebench.results.grading.evidence import ControlKind, ControlScore, Recovery, Unscored
from purebench.results.grading.gathering import evidence_of
from purebench.results.results import DefenseResult

from synthetic import make_board, make_record, merge  # isort: skip

REFERENCE = "before(purifier='none', classifier='fashion-trades')"
MASKED = ControlFacts("masked", "a fault", REFERENCE)
EXACT = ControlFacts("oracle", "nothing", "")
ATTACKS = (
    AttackChoice("clean", Spec("clean")),
    AttackChoice("apgd", Spec("apgd"), "exact"),
    AttackChoice("blind", Spec("apgd"), "blind"),
    AttackChoice("transfer", Spec("transfer"), source=Source("plain", "apgd")),
    AttackChoice("truth", Spec("known-truth")),
)


def board(**more: object) -> Board:
    return replace(make_board(defenses=("control",), images=8, block=8), attacks=ATTACKS, **more)


def control(
    answers: dict[str, str], truth: list[ImageTruth | None], facts: ControlFacts, of: Board | None = None
) -> DefenseResult:
    """Return the result of a deterministic control; each attack has one character per image, 1 for right."""
    of = of or board()
    everything = {name: answers.get(name, answers["clean"]) for name in (attack.name for attack in of.attacks)}
    records = [
        make_record(
            of, "control", name, 0, list(given), **({"truth": truth, "control": facts} if name == "truth" else {})
        )
        for name, given in everything.items()
    ]
    (found,) = merge(of, records)
    return found


def row_of(found: DefenseResult) -> DefenseResult:
    """Returns the result of a row of the board of a control."""
    attacks = {name: attack for name, attack in found.board["attacks"].items() if name != "truth"}
    return replace(found, name="row", board={**found.board, "attacks": attacks}, attacks=found.attacks[:-1])


def scores(controls: list[DefenseResult], references: Sequence[DefenseResult] = ()) -> list[ControlScore]:
    return list(score_controls(controls, references).scores)


def why(controls: list[DefenseResult], references: Sequence[DefenseResult] = (), declared: Sequence[str] = ()) -> Any:
    """Returns the reasons of the controls without a score, by name."""
    return {one.name: one.why for one in score_controls(controls, references, declared).unscored}


def many(count: int, wrong: int, low: str, high: str, errored: int = 0) -> DefenseResult:
    """Returns a control that is right on `count` images, the first of which are broken, with equal bounds on all."""
    of = replace(make_board(defenses=("control",), images=count, block=count), attacks=ATTACKS)
    answers: list[object] = [*"0" * wrong, *"1" * (count - wrong)]
    records = [
        make_record(of, "control", name, 0, ["1"] * count if name == "clean" else list(answers), reason="it fails")
        for name in ("clean", "apgd", "blind", "transfer")
    ]
    failing: list[object] = [*answers[: count - errored], *[Outcome.ERRORED] * errored]
    records[1] = make_record(of, "control", "apgd", 0, failing, reason="it fails")
    truth = [ImageTruth(float(low), float(high))] * count
    records += [make_record(of, "control", "truth", 0, ["1"] * count, truth=truth, control=EXACT)]
    (found,) = merge(of, records)
    return found


def bounds(low: str, high: str) -> list[ImageTruth | None]:
    return [ImageTruth(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def test_a_perfect_attack_has_no_excess() -> None:
    found = control({"clean": "11111110", "apgd": "11110000"}, bounds("11110000", "11110000"), EXACT)
    (score,) = scores([found])
    assert score.kind is ControlKind.ORACLE
    assert (score.truth_low, score.truth_high, score.measured.value) == (0.5, 0.5, 0.5)
    assert score.excess.value == 0
    assert score.recovery is Recovery.UNDECIDED  # 8 images do not exclude 10 points


def test_a_weak_attack_has_a_large_excess() -> None:
    found = control({"clean": "11111110", "apgd": "11111110"}, bounds("11110000", "11110000"), EXACT)
    (score,) = scores([found])
    assert score.excess.value == pytest.approx(3 / 8)
    assert score.excess.low <= 3 / 8 <= score.excess.high
    assert not score.recovered


def test_excess_is_above_the_upper_bound_and_no_image_makes_up_for_another() -> None:
    """The attacks miss two images, and break one that the reference does not: its truth is then 0, and not 1."""
    truth = [ImageTruth(value, value) for value in (1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0)]
    (score,) = scores([control({"clean": "11111111", "apgd": "00111111"}, truth, EXACT)])
    assert score.excess.value == pytest.approx(2 / 8)  # and not (2 - 1) / 8


def test_images_with_loose_bounds_are_not_scored() -> None:
    truth = [ImageTruth(0.0, 1.0), *[ImageTruth(0.0, 0.0)] * 3, ImageTruth(0.5, 0.54), *[ImageTruth(1.0, 1.0)] * 3]
    (score,) = scores([control({"clean": "00001111"}, truth, EXACT)])
    assert score.excess.n == 7


@pytest.mark.parametrize(
    ("images", "missed", "found"),
    [
        (4, 0, Recovery.UNDECIDED),
        (28, 0, Recovery.UNDECIDED),  # 1 - 0.05 ** (1 / 28) = 10.1 %
        (29, 0, Recovery.RECOVERED),  # 9.8 %
        (45, 1, Recovery.UNDECIDED),
        (48, 1, Recovery.RECOVERED),  # 9.5 %, the upper bound of Clopper and Pearson
        (48, 2, Recovery.UNDECIDED),
        (48, 5, Recovery.UNDECIDED),
        (48, 6, Recovery.MISSED),  # from 5.6 %
        (200, 10, Recovery.RECOVERED),
        (200, 11, Recovery.UNDECIDED),  # 5.5 points
        (1000, 50, Recovery.RECOVERED),
        (1000, 65, Recovery.MISSED),
    ],
)
def test_a_control_is_recovered_if_it_is_near_on_enough_images(images: int, missed: int, found: Recovery) -> None:
    truth, measured = np.zeros(images), np.zeros(images)
    measured[:missed] = 1
    assert recovery(measured, truth, np.ones_like(truth), random=False) is found
    upper, lower = (
        (
            beta.ppf(level, *ends)
            for level, ends in ((0.95, (missed + 1, images - missed)), (0.05, (missed, images - missed + 1)))
        )
        if missed
        else (1 - 0.05 ** (1 / images), 0.0)
    )
    near = missed / images <= 0.05 and upper < 0.1
    assert found is (Recovery.RECOVERED if near else Recovery.MISSED if lower > 0.05 else Recovery.UNDECIDED)


def test_a_control_of_which_no_image_can_be_missed_decides_nothing() -> None:
    assert recovery(np.ones(500), np.ones(500), np.ones(500), random=False) is Recovery.UNDECIDED


def test_a_control_with_nothing_to_find_is_undecided() -> None:
    """Attacks that do nothing measure its truth: a constant answer, for example."""
    truth = np.repeat([1.0, 0.0], [50, 450])
    assert recovery(truth, truth, truth, random=False) is Recovery.UNDECIDED
    assert recovery(truth, truth, np.empty(0), random=False) is Recovery.UNDECIDED
    assert recovery(truth, truth, np.ones(500), random=False) is Recovery.RECOVERED


@pytest.mark.parametrize(("excess", "wrong"), [(0.1, Recovery.RECOVERED), (0.05, Recovery.MISSED)])
def test_recovery_is_wrong_in_at_most_5_percent(excess: float, wrong: Recovery) -> None:
    """Random controls of truth 1/2 with 32 draws an image, and deterministic ones, at the two limits of the excess."""
    rng = np.random.default_rng(0)
    for random in (False, True):
        truth = np.full(60, 0.5 if random else 0.0)
        runs = 200
        found = [
            recovery(
                rng.binomial(32, truth + excess) / 32 if random else (rng.random(60) < excess).astype(float),
                truth,
                np.ones_like(truth),
                random=random,
            )
            for _ in range(runs)
        ]
        assert found.count(wrong) <= binom.ppf(0.9999, runs, 0.05)


def test_random_controls_at_their_truth_are_recovered_on_48_images() -> None:
    rng = np.random.default_rng(1)
    truth = np.full(48, 0.5)
    found = [recovery(rng.binomial(32, truth) / 32, truth, np.ones_like(truth), random=True) for _ in range(100)]
    assert found.count(Recovery.RECOVERED) >= 95


def test_each_kind_of_attack_alone_and_all_without_transfer() -> None:
    answers = {"clean": "11111110", "apgd": "11110110", "blind": "11101110", "transfer": "00001110"}
    (score,) = scores([control(answers, bounds("00000000", "00000000"), EXACT)])
    assert {kind: found.value for kind, found in score.by_attack_kind.items()} == {
        "exact": 6 / 8,
        "blind": 6 / 8,
        "transfer": 3 / 8,
    }
    assert score.without_transfer is not None
    assert score.without_transfer.value == 5 / 8
    assert score.measured.value == 2 / 8


def test_images_without_a_known_truth_are_not_scored() -> None:
    truth: list[ImageTruth | None] = [ImageTruth(0.5, 0.5), *[None] * 6, ImageTruth(0.5, 0.5)]
    (score,) = scores([control({"clean": "10000001"}, truth, EXACT)])
    assert score.excess.n == score.measured.n == 2
    assert (score.truth_low, score.truth_high, score.measured.value) == (0.5, 0.5, 1.0)


def test_the_upper_bound_of_a_masked_control_is_that_of_its_reference_image_by_image() -> None:
    masked = control({"clean": "11111110"}, [ImageTruth(0.0, None)] * 8, MASKED)
    strong = replace(make_board(attacks=("clean", "apgd"), defenses=(label(REFERENCE),), images=8, block=8), name="r")
    records = [
        make_record(strong, label(REFERENCE), name, 0, list(given))
        for name, given in (("clean", "11111110"), ("apgd", "11000000"))
    ]
    (reference,) = merge(strong, records)
    assert scores([masked]) == []
    assert why([masked]) == {"control": Unscored.UNFINISHED}
    assert why([masked], [replace(reference, complete=False)]) == {"control": Unscored.UNFINISHED}
    (score,) = scores([masked], [reference])
    assert (score.truth_low, score.truth_high) == (0.0, 2 / 8)
    assert score.excess.value == pytest.approx(5 / 8)


def test_images_on_which_the_reference_errored_are_not_scored() -> None:
    masked = control({"clean": "00111111"}, [ImageTruth(0.0, None)] * 8, MASKED)
    strong = replace(make_board(attacks=("clean", "apgd"), defenses=(label(REFERENCE),), images=8, block=8), name="r")
    failing: list[object] = [Outcome.ERRORED] * 4 + ["0"] * 4
    records = [
        make_record(strong, label(REFERENCE), "clean", 0, ["1"] * 8),
        make_record(strong, label(REFERENCE), "apgd", 0, failing, reason="it fails"),
    ]
    (score,) = scores([masked], merge(strong, records))
    assert score.excess.n == 4
    assert score.excess.value == 1


def test_controls_without_a_truth_have_a_reason() -> None:
    assert why([control({"clean": "11111110"}, [], EXACT)]) == {"control": Unscored.INAPPLICABLE}
    assert why([control({"clean": "11111110"}, [None] * 8, EXACT)]) == {"control": Unscored.INAPPLICABLE}
    found = control({"clean": "11111110"}, bounds("00000000", "11111111"), EXACT)
    assert why([found]) == {"control": Unscored.ERRORED}  # no bound is tight, as after a time limit
    failed = control({"clean": "11111110"}, [], EXACT)
    truth = replace(failed.attacks[-1], outcomes=(Outcome.ERRORED,) * 8, control=None)
    assert why([replace(failed, attacks=(*failed.attacks[:-1], truth))]) == {"control": Unscored.ERRORED}


def test_controls_that_are_not_finished_have_no_score() -> None:
    found = many(60, 0, "0", "0")
    assert why([replace(found, complete=False)]) == {"control": Unscored.UNFINISHED}
    assert why([found], declared=("control", "other")) == {"other": Unscored.UNFINISHED}


def test_images_on_which_an_attack_errored_count_as_not_broken() -> None:
    (score,) = scores([many(60, 59, "0", "0", errored=1)])
    assert (score.recovery, score.errored) == (Recovery.RECOVERED, 1)
    (score,) = scores([many(60, 30, "0", "0", errored=30)])
    assert (score.recovery, score.errored) == (Recovery.MISSED, 30)
    assert score.measured.value == 0.5


def test_one_image_below_a_proof_contradicts_it_for_a_deterministic_control() -> None:
    truth = [ImageTruth(1.0, 1.0)] * 4 + [ImageTruth(0.0, 0.0)] * 4
    (score,) = scores([control({"clean": "11110000"}, truth, EXACT)])
    assert not score.below_proof
    (score,) = scores([control({"clean": "11101111"}, truth, EXACT)])  # the mean is far above the truth
    assert score.below_proof


def test_the_mean_below_a_proof_contradicts_it_for_a_random_control() -> None:
    def below(answer: str) -> bool:
        of = replace(make_board(defenses=("control",), images=40, block=40, draws=4), attacks=ATTACKS)
        truth = {"truth": [ImageTruth(0.5, 0.5)] * 40, "control": ControlFacts("random", "nothing", "")}
        records = [
            make_record(of, "control", attack.name, 0, [answer] * 40, **(truth if attack.name == "truth" else {}))
            for attack in of.attacks
        ]
        (score,) = scores(merge(of, records))
        return score.below_proof

    assert below("0000")
    assert not below("0011")


def test_results_of_controls_are_exported_and_read_back_with_equal_scores(tmp_path: Path) -> None:
    answers = {"clean": "11111110", "apgd": "11110110", "transfer": "00001110"}
    companions = {"controls": [control(answers, bounds("01110000", "01110000"), EXACT)]}
    row = row_of(companions["controls"][0])
    assert load_companions(tmp_path, [row]) == {}
    export_companions(tmp_path, companions, ["control", "other"])
    again = load_companions(tmp_path, [row])
    assert scores(again["controls"]) == scores(companions["controls"])
    assert load_declared(tmp_path) == ["control", "other"]
    line = (tmp_path / "controls" / "scores.jsonl").read_text(encoding="utf-8")
    assert '"excess": { "confidence"' in line
    assert '"truth_high": 0.375' in line
    assert '{ "name": "other", "unscored": "unfinished" }' in line
    plain = score_to_dict(scores(again["controls"])[0])
    assert (plain["recovered"], plain["recovery"]) == (False, "undecided")
    assert load_companions(tmp_path, [replace(row, board={**row.board, "seed": 1})]) == {}


def test_controls_that_a_board_no_longer_declares_are_deleted_and_not_scored(tmp_path: Path) -> None:
    found = control({"clean": "11111110"}, bounds("01000000", "01000000"), EXACT)
    other = replace(found, name="other")
    export_companions(tmp_path, {"controls": [found, other]})
    assert [one.name for one in evidence_of([row_of(found)], {"controls": [found, other]}, ["other"]).controls] == [
        "other"
    ]
    export_companions(tmp_path, {"controls": [other]})
    assert not (tmp_path / "controls" / "control.json").exists()
    assert [one.name for one in load_companions(tmp_path, [row_of(found)])["controls"]] == ["other"]


def test_a_store_without_controls_has_no_companions(tmp_path: Path) -> None:
    from purebench.records import store

    with store.writing(tmp_path / "s"):
        pass
    assert companions_in_store(tmp_path / "s", board()) == {}
