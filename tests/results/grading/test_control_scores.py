"""Tests the scores of controls against numbers computed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from purebench.boards.board import AttackChoice, Board, Source
from purebench.boards.selection import label
from purebench.core.answers import ControlFacts, ImageTruth
from purebench.core.registry import Spec
from purebench.records.outcome import Outcome
from purebench.results.files.companions import (
    companions_in_store,
    export_companions,
    load_companions,
    score_to_dict,
)
from purebench.results.grading.control_scores import control_scores
from purebench.results.grading.evidence import ControlKind
from purebench.results.grading.gathering import scores_of
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


def bounds(low: str, high: str) -> list[ImageTruth | None]:
    return [ImageTruth(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def test_a_perfect_attack_has_no_excess() -> None:
    found = control({"clean": "11111110", "apgd": "11110000"}, bounds("11110000", "11110000"), EXACT)
    (score,) = control_scores([found])
    assert score.kind is ControlKind.ORACLE
    assert (score.truth_low, score.truth_high, score.measured.value) == (0.5, 0.5, 0.5)
    assert score.excess.value == 0
    assert score.recovered


def test_a_weak_attack_has_a_large_excess() -> None:
    found = control({"clean": "11111110", "apgd": "11111110"}, bounds("11110000", "11110000"), EXACT)
    (score,) = control_scores([found])
    assert score.excess.value == pytest.approx(3 / 8)
    assert score.excess.low <= 3 / 8 <= score.excess.high
    assert not score.recovered


def test_excess_is_above_the_upper_bound_and_paired_by_image() -> None:
    truth = [ImageTruth(0.0, value) for value in (0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 0.0, 0.0)]
    found = control({"clean": "11111111", "apgd": "01010101"}, truth, EXACT)
    (score,) = control_scores([found])
    assert (score.truth_low, score.truth_high) == (0.0, 0.5)
    assert score.excess.value == pytest.approx(np.mean([-0.5, 0.5, -0.5, 0.5, -1, 0, 0, 1]))


def test_each_kind_of_attack_alone_and_all_without_transfer() -> None:
    answers = {"clean": "11111110", "apgd": "11110110", "blind": "11101110", "transfer": "00001110"}
    (score,) = control_scores([control(answers, bounds("00000000", "00000000"), EXACT)])
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
    (score,) = control_scores([control({"clean": "10000001"}, truth, EXACT)])
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
    assert control_scores([masked]) == []
    (score,) = control_scores([masked], [reference])
    assert (score.truth_low, score.truth_high) == (0.0, 2 / 8)
    assert score.excess.value == pytest.approx(5 / 8)


def test_controls_without_a_truth_or_with_errors_are_left_out() -> None:
    plain = control({"clean": "11111110"}, [], EXACT)
    assert control_scores([plain]) == []
    of = board()
    truth = bounds("11110000", "11110000")
    failed: list[object] = [Outcome.ERRORED] * 8
    records = [make_record(of, "control", name, 0, list("11111111")) for name in ("clean", "blind", "transfer")]
    records += [make_record(of, "control", "truth", 0, list("11111111"), truth=truth, control=EXACT)]
    records += [make_record(of, "control", "apgd", 0, failed, reason="it fails")]
    assert control_scores(merge(of, records)) == []


def test_results_of_controls_are_exported_and_read_back_with_equal_scores(tmp_path: Path) -> None:
    answers = {"clean": "11111110", "apgd": "11110110", "transfer": "00001110"}
    companions = {"controls": [control(answers, bounds("01000000", "01110000"), EXACT)]}
    assert load_companions(tmp_path) == {}
    export_companions(tmp_path, companions)
    again = load_companions(tmp_path)
    assert scores_of(again) == scores_of(companions)
    line = (tmp_path / "controls" / "scores.jsonl").read_text(encoding="utf-8")
    assert '"excess": { "confidence"' in line
    assert '"truth_high": 0.375' in line
    assert score_to_dict(scores_of(again)[0])["recovered"] is True


def test_a_store_without_controls_has_no_companions(tmp_path: Path) -> None:
    from purebench.records import store

    with store.writing(tmp_path / "s"):
        pass
    assert companions_in_store(tmp_path / "s", board()) == {}
