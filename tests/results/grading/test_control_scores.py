"""Tests the scores of controls against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, binom

from purebench.boards.selection import label
from purebench.core.answers import ControlFacts, ImageTruth
from purebench.records.outcome import Outcome
from purebench.results.grading.control_scores import recovery
from purebench.results.grading.evidence import ControlKind, Recovery, Unscored
from purebench.results.results import DefenseResult

from synthetic import make_board, make_record, merge  # isort: skip

from scored_controls import ATTACKS, EXACT, MASKED, REFERENCE, board, bounds, control, many, scores, why  # isort: skip


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


def test_a_control_of_which_no_image_can_be_missed_is_too_easy() -> None:
    assert recovery(np.ones(500), np.ones(500), np.ones(500), random=False) is Recovery.TOO_EASY


def test_a_control_with_nothing_to_find_is_too_easy() -> None:
    """Attacks that do nothing measure its truth: a constant answer, for example."""
    truth = np.repeat([1.0, 0.0], [50, 450])
    assert recovery(truth, truth, truth, random=False) is Recovery.TOO_EASY
    assert recovery(truth, truth, np.empty(0), random=False) is Recovery.NO_CLEAN
    assert recovery(truth, truth, np.ones(500), random=False) is Recovery.RECOVERED
    clean = truth + np.repeat([0.0, 1.0, 0.0], [50, 49, 401])
    assert recovery(truth, truth, clean, random=False) is Recovery.TOO_EASY  # 9.8 points above the truth
    clean[99] = 1
    assert recovery(truth, truth, clean, random=False) is Recovery.RECOVERED


def test_an_easy_control_is_missed_where_attacks_do_not_find_the_little_that_there_is() -> None:
    clean = np.repeat([1.0, 0.0], [90, 910])
    assert recovery(clean, np.zeros(1000), clean, random=False) is Recovery.MISSED


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


def test_the_reference_of_other_code_does_not_score_a_control() -> None:
    found = control({"clean": "11111111", "apgd": "11110000"}, [ImageTruth(0.0, None)] * 8, MASKED)
    strong = replace(control({"clean": "11111111", "apgd": "11110000"}, bounds("0" * 8, "1" * 8), EXACT))
    reference = replace(strong, name=label(REFERENCE))

    def with_code(result: DefenseResult, shared: str) -> DefenseResult:
        return replace(result, provenance={**result.provenance, "code": {"shared": shared}})

    assert scores([with_code(found, "new")], [with_code(reference, "new")])
    assert why([with_code(found, "new")], [with_code(reference, "old")]) == {"control": Unscored.UNFINISHED}
    assert scores([with_code(found, "new")], [reference])  # results of earlier versions state none
    data = replace(reference, provenance={**reference.provenance, "data": "other images"})
    assert why([found], [data]) == {"control": Unscored.UNFINISHED}


def test_results_state_the_code_that_a_control_and_its_reference_share() -> None:
    of = board()
    part = {name: {"source": name} for name in ("attack", "view", "defense", "classifier", "dataset", "purebench")}

    def shared(changed: str) -> str:
        code = {**part, changed: {"source": "other"}}
        records = [make_record(of, "control", one.name, 0, ["1"] * 8) for one in of.attacks]
        records = [replace(one, provenance={**one.provenance, "code": code}) for one in records]
        return str(merge(of, records)[0].provenance["code"]["shared"])

    assert shared("attack") == shared("view") == shared("defense")
    assert len({shared(name) for name in ("attack", "classifier", "dataset", "purebench")}) == 4
