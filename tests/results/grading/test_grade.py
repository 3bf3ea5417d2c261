"""Tests the grade of an evaluation: the letter of each fault, both sides of each threshold, and the worst-of rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from purebench.attacks.mechanisms import Mechanism
from purebench.boards.bundled import bundled
from purebench.core.warning_codes import OF_ONE_ATTACK, WarningCode
from purebench.records.outcome import Outcome
from purebench.results.files.export import load_results
from purebench.results.grading.best_known import ran_bespoke
from purebench.results.grading.criteria.cures import Cures
from purebench.results.grading.criteria.letters import Code, Letter, worst
from purebench.results.grading.criteria.thresholds import FAULTS, THRESHOLDS
from purebench.results.grading.evidence import (
    ConvergenceStatus,
)
from purebench.results.grading.grade import GradeEvidence, grades

from synthetic import make_results  # isort: skip

from grade_cases import CASES
from graded import (
    CONTROLS,
    CONVERGED,
    A,
    B,
    C,
    Case,
    D,
    F,
    attacked_for_itself,
    converged,
    errored,
    good,
    missed,
    result,
    warned,
    without,
)

BOARDS = [name for name, path in bundled().items() if (path.parent / "results").is_dir()]


@pytest.mark.parametrize("name", CASES)
def test_each_fault_gives_its_letter_to_its_part_alone(name: str) -> None:
    make, part, code, letter = CASES[name]
    found = make().grade()
    parts = {one.name: one for one in found.parts}
    (reason,) = {one for one in parts[part].reasons if one.code is code}
    assert (reason.letter, parts[part].letter, found.letter) == (letter, letter, letter), found.reasons
    also = {"precision"} if code is Code.ERRORS else set()  # errors widen the bounds of the accuracy
    assert all(one.letter is A for other, one in parts.items() if other not in {part, *also})


@pytest.mark.parametrize("random", [False, True])
def test_an_evaluation_without_a_fault_has_an_a(random: bool) -> None:
    found = good(random).grade()
    assert (found.letter, found.letters, found.reasons, found.deciding) == (A, "A A A", (), ())
    assert {reason.code for part in found.parts for reason in part.reasons} >= {Code.ERRORS, Code.CONTROLS, Code.IMAGES}


@pytest.mark.parametrize(("count", "letter"), [(30, C), (29, D), (10, D), (9, F)])
def test_few_images_lower_precision(count: int, letter: Letter) -> None:
    (reason,) = (one for one in good(result=result(images=count)).grade().precision.reasons if one.code is Code.IMAGES)
    assert reason.letter is letter


def test_the_letters_of_widths_are_on_both_sides_of_their_limits() -> None:
    """The number of images, and the letter of the Clopper–Pearson interval at 50 %, whose half-width is known."""
    seen = set()
    for images in (700, 420, 380, 170, 150, 50, 44, 18, 14, 12):
        found = good(result=result(images=images)).grade()
        (reason,) = (one for one in found.precision.reasons if one.code is Code.HALF_WIDTH)
        width = result(images=images).robust.half_width
        expected = A if width <= 0.05 else B if width <= 0.08 else C if width <= 0.15 else D if width <= 0.25 else F
        assert reason.letter is expected
        seen.add(expected)
    assert seen == {A, B, C, D, F}


def test_the_overall_letter_is_the_worst_of_the_three() -> None:
    for names in itertools.combinations(("library", "not bespoke", "undecided", "falling", "499 images", "flat"), 2):
        cases = [CASES[name][0]() for name in names]
        base = good()
        fields = {
            field: next((getattr(one, field) for one in cases if getattr(one, field) != getattr(base, field)), None)
            for field in ("result", "convergence", "bespoke")
        }
        merged = replace(base, **{name: value for name, value in fields.items() if value is not None})
        found = merged.grade()
        assert found.letter is worst(part.letter for part in found.parts)
        assert found.letter is max(part.letter for part in found.parts)
    assert worst([B, A, F, C]) is F


def test_removing_a_fault_never_lowers_a_letter() -> None:
    """All subsets of faults: the letter of a part is at least that of any subset with one fault more."""
    faults: dict[str, Callable[[Case], Case]] = {
        "errors": lambda case: replace(case, result=errored(case.result, 20)),
        "masking": lambda case: replace(case, result=warned(case.result, WarningCode.ZERO_GRADIENT)),
        "contract": lambda case: replace(case, result=warned(case.result, WarningCode.PROBABILITIES, "square")),
        "unfinished": lambda case: replace(case, result=replace(case.result, complete=False)),
        "few": lambda case: replace(case, controls=missed(6)),
        "flat": lambda case: replace(case, convergence=converged(ConvergenceStatus.FLAT)),
        "cap": lambda case: replace(case, bespoke=False),
        "mechanisms": lambda case: replace(case, result=without(case.result, "transfer")),
    }
    letters: dict[frozenset[str], tuple[Letter, ...]] = {}
    for number in range(2 ** len(faults)):
        names = frozenset(name for place, name in enumerate(faults) if number >> place & 1)
        case = good(result=result(images=200))
        for name in faults:
            case = faults[name](case) if name in names else case
        found = case.grade()
        letters[names] = (*(part.letter for part in found.parts), found.letter)
    for names, found in letters.items():
        for name in names:
            fewer = letters[names - {name}]
            assert all(less <= more for less, more in zip(fewer, found, strict=True)), (name, names)


def test_every_letter_below_a_has_a_sentence_and_a_cure() -> None:
    for make, *_ in CASES.values():
        for reason in make().grade().reasons:
            assert reason.sentence
            assert reason.short
            assert "purebench" in reason.cure


def test_the_grade_is_deterministic_and_plain_in_json() -> None:
    case = good(True, bespoke=False, controls=missed(3))
    assert case.grade() == case.grade()
    plain = case.grade().to_dict()
    assert list(plain) == ["grade", "integrity", "adequacy", "precision"]
    assert plain["grade"] == "B"
    assert plain["adequacy"]["reasons"][0].keys() == {"code", "letter", "sentence", "short", "cure"}


def test_a_row_that_is_broken_everywhere_needs_no_further_evidence() -> None:
    found = Case(result(accuracy=0.0), bespoke=False).grade()
    assert (found.adequacy.letter, found.letter) == (A, A)
    assert Case(result(accuracy=0.002), bespoke=False).grade().adequacy.letter is C
    (some,) = make_results({"row": {"clean": ["1111"] * 40, "apgd": ["0000"] * 39 + ["0001"]}}, block=40)[2]
    assert Case(some).grade().adequacy.letter is not A  # a single right draw is left


def test_without_an_attack_that_applies_and_with_errors_everywhere_the_letter_is_f() -> None:
    none = {"clean": ["1"] * 40, "apgd": [Outcome.SKIPPED] * 40}
    failed = {"clean": [Outcome.ERRORED] * 40, "apgd": [Outcome.ERRORED] * 40}
    for answers in (none, failed):
        (found,) = make_results({"row": answers}, block=40)[2]
        assert Case(found).grade().adequacy.letter is F
    assert Case(found).grade().integrity.letter is F


def test_warnings_of_one_attack_that_are_not_of_a_library_do_not_lower_a_letter() -> None:
    for code in OF_ONE_ATTACK - {WarningCode.LIBRARY}:
        assert good(result=warned(result(), code)).grade().letter is A


def test_a_masking_warning_gives_d_or_worse_for_every_code_of_a_row() -> None:
    for code in set(WarningCode) - OF_ONE_ATTACK:
        assert good(result=warned(result(), code)).grade().letter is D


def test_a_stronger_attack_without_the_gradient_gives_d() -> None:
    answers = {"clean": ["1"] * 200, "apgd": ["1"] * 200, "square": ["0"] * 100 + ["1"] * 100}
    (found,) = make_results({"row": answers}, block=200)[2]
    (reason,) = (one for one in Case(found).grade().adequacy.reasons if one.code is Code.MASKING)
    assert (reason.letter, "gradient-free-stronger" in reason.sentence) == (D, True)


def test_every_fault_and_threshold_is_in_a_case() -> None:
    covered = {(code, letter) for _, _, code, letter in CASES.values()}
    assert {(fault.code, fault.letter) for fault in FAULTS} - covered == {(Code.ATTACKED, F)}  # tested above
    assert {one.code for one in THRESHOLDS} - {code for code, _ in covered} == {Code.HALF_WIDTH}  # tested above


def test_rows_have_their_own_convergence_and_share_the_controls() -> None:
    rows = [replace(result(), name="one"), replace(result(), name="other")]
    found = grades(rows, GradeEvidence(CONTROLS, {"one": CONVERGED}))
    assert (found["one"].letter, found["other"].letter) == (B, C)


@pytest.mark.parametrize("name", BOARDS)
def test_shipped_results_have_a_grade_with_commands_that_name_the_board(name: str) -> None:
    rows = load_results(bundled()[name].parent / "results")
    for row, found in grades(rows).items():
        assert found.letter in (B, C, D)
        reasons = [reason.cure for reason in found.reasons]
        assert all(name in cure for cure in reasons), row


def test_a_random_row_with_noise_in_its_answers_is_graded() -> None:
    """The half-width of a random row is that of its scores, so fewer images or draws never raise the precision."""
    rng = np.random.default_rng(0)
    widths = []
    for images in (20, 80, 320):
        answers = ["".join("01"[int(one)] for one in rng.random(16) < 0.5) for _ in range(images)]
        (found,) = make_results({"row": {"clean": ["1" * 16] * images, "apgd": answers}}, draws=16, block=images)[2]
        widths.append(Case(found).grade().precision.letter)
    assert widths == sorted(widths, reverse=True)


def test_noise_for_a_row_and_the_reuse_of_clean_images_raise_no_letter() -> None:
    found = attacked_for_itself(result())
    assert ran_bespoke(found)
    noise = tuple(
        replace(one, spec={"name": "random-noise", "params": {}}, gradient="none") if one.name == "own" else one
        for one in found.attacks
    )
    assert not ran_bespoke(replace(found, attacks=noise))
    (transfer,) = (one for one in found.attacks if one.name == "transfer")
    assert transfer.mechanisms == (Mechanism.TRANSFER,)
    assert replace(transfer, source={"defense": "row", "attack": "clean"}).mechanisms == ()


def test_a_changed_board_is_run_with_its_evidence_and_with_its_own_number_of_images() -> None:
    cures = Cures(result(), "board.yaml")
    assert cures.change("eot: 4") == (
        f"eot: 4 in the board.yaml, then purebench run board.yaml --defense '{cures.defense}' --images 500 --evidence"
    )
    assert "--evidence" not in cures.run()
