"""Tests the grade of an evaluation: the letter of each fault, both sides of each threshold, and the worst-of rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from purebench.attacks.mechanisms import Mechanism
from purebench.boards.bundled import bundled
from purebench.core.warning_codes import OF_ONE_ATTACK, ResultWarning, WarningCode
from purebench.records.outcome import Outcome
from purebench.results.files.export import load_results
from purebench.results.grading.best_known import ran_bespoke
from purebench.results.grading.criteria.cures import Cures
from purebench.results.grading.criteria.letters import Code, Letter, worst
from purebench.results.grading.criteria.thresholds import FAULTS, THRESHOLDS
from purebench.results.grading.evidence import (
    ControlKind,
    ControlScore,
    Convergence,
    ConvergenceStatus,
    Recovery,
    Unscored,
    UnscoredControl,
)
from purebench.results.grading.grade import GradeEvidence, grade, grades
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

from synthetic import make_results  # isort: skip

A, B, C, D, F = Letter
BOARDS = [name for name, path in bundled().items() if (path.parent / "results").is_dir()]


@dataclass(frozen=True)
class Case:
    """The arguments of `grade`."""

    result: DefenseResult
    controls: tuple[ControlScore, ...] = ()
    convergence: Convergence | None = None
    bespoke: bool = True

    unscored: tuple[UnscoredControl, ...] = ()

    def grade(self) -> Any:
        return grade(
            attacked_for_itself(self.result) if self.bespoke else self.result,
            controls=self.controls,
            convergence=self.convergence,
            unscored=self.unscored,
            origin="board.yaml",
        )


def attacked_for_itself(found: DefenseResult) -> DefenseResult:
    """Returns the result with an attack of a mechanism that it has, bespoke to the row, which breaks no image."""
    own = {**found.board["attacks"]["clean"], "rows": [found.name]}
    board = {**found.board, "attacks": {**found.board["attacks"], "own": own}}
    (clean,) = (attack for attack in found.attacks if attack.name == "clean")
    like = next((attack for attack in found.attacks if attack.mechanisms), clean)
    same = {name: getattr(like, name) for name in ("spec", "gradient", "source", "eot", "backwards")}
    return replace(found, board=board, attacks=(*found.attacks, replace(clean, name="own", **same)))


def estimate(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), 0.95, 100, "wilson")


def control(
    name: str, found: Recovery = Recovery.RECOVERED, alone: Recovery | None = None, *, below_proof: bool = False
) -> ControlScore:
    """Returns a control with a known accuracy of 30 %; `alone` is what is found without transfer."""
    accuracy, difference = estimate(0.3), Estimate(0.0, -0.01, 0.01, 0.95, 100, "paired")
    fields = (0.3, 0.3, accuracy, accuracy, {}, difference, found, found if alone is None else alone)
    return ControlScore(name, ControlKind.MASKED, *fields, below_proof=below_proof)


def converged(status: ConvergenceStatus) -> Convergence:
    return Convergence(status, (), estimate(0.3), "square", None, f"it is {status}")


@cache
def result(random: bool = False, images: int = 500, accuracy: float = 0.5, draws: int = 16) -> DefenseResult:
    """Returns a row with an attack of each of three mechanisms; its attacks break the same images."""
    right = round(accuracy * images)
    clean, attacked = (["1"] * images, ["1"] * right + ["0"] * (images - right))
    if random:
        clean, attacked = ([one * draws for one in answers] for answers in (clean, attacked))
    names = ("clean", "apgd", "square", "transfer")
    answers = {name: clean if name == "clean" else attacked for name in names}
    (found,) = make_results({"row": answers}, draws=draws, block=images)[2]
    assert found.random == random
    settings = {"apgd": {"eot": 16 if random else 1}, "transfer": {"source": {"defense": "row", "attack": "apgd"}}}
    return replace(found, attacks=tuple(replace(one, **settings.get(one.name, {})) for one in found.attacks))


def changed(found: DefenseResult, **changes: Any) -> DefenseResult:
    """Returns the result with other fields of its attacks: changed(found, apgd={"eot": 2})."""
    attacks = tuple(replace(attack, **changes.get(attack.name, {})) for attack in found.attacks)
    return replace(found, attacks=attacks)


def errored(found: DefenseResult, count: int) -> DefenseResult:
    """Returns the result in which the gradient attack ERRORED on the first images, which are right elsewhere."""
    (attack,) = (one for one in found.attacks if one.name == "apgd")
    outcomes = (Outcome.ERRORED,) * count + attack.outcomes[count:]
    draws = ("",) * count + attack.draws[count:]
    return changed(found, apgd={"outcomes": outcomes, "draws": draws, "reasons": ("RuntimeError: no",)})


def without(found: DefenseResult, *names: str) -> DefenseResult:
    return replace(found, attacks=tuple(attack for attack in found.attacks if attack.name not in names))


def warned(found: DefenseResult, code: WarningCode, attack: str = "apgd") -> DefenseResult:
    return changed(found, **{attack: {"warnings": (ResultWarning(code, "a warning", 1, 2),)}})


CONTROLS = tuple(control(f"control-{number}") for number in range(20))
CONVERGED = converged(ConvergenceStatus.CONVERGED)


def missed(count: int, alone: int = 0) -> tuple[ControlScore, ...]:
    """Returns 20 controls, of which some are not recovered, and further ones by transfer only."""
    found = [Recovery.MISSED] * count + [Recovery.RECOVERED] * (20 - count)
    without_transfer = [Recovery.MISSED] * (count + alone) + [Recovery.RECOVERED] * (20 - count - alone)
    pairs = zip(found, without_transfer, strict=True)
    return tuple(control(f"control-{number}", *pair) for number, pair in enumerate(pairs))


def sequence(*views: str, eot: int = 1) -> dict[str, Any]:
    """Returns the fields of a sequence of attacks through these views; Square where the view is none."""
    parts = [{"use": "square" if view == "none" else "apgd", "gradient": view, "eot": eot} for view in views]
    return {"spec": {"name": "sequence", "params": {"parts": parts}}, "gradient": "none"}


def some(count: int, rest: Recovery | None, alone: Recovery) -> tuple[ControlScore, ...]:
    """Returns 20 controls of which some are recovered; `rest` of the others is recovered by all attacks if None."""
    found = Recovery.RECOVERED if rest is None else rest
    return (*CONTROLS[:count], *(control(f"other-{number}", found, alone) for number in range(20 - count)))


def lost(count: int, why: str) -> tuple[UnscoredControl, ...]:
    """Returns controls without a score: errored (E), unfinished (U) or not applicable (I)."""
    reasons = {"E": Unscored.ERRORED, "U": Unscored.UNFINISHED, "I": Unscored.INAPPLICABLE}
    return tuple(UnscoredControl(f"lost-{number}", reasons[why]) for number in range(count))


def good(random: bool = False, **changes: Any) -> Case:
    """Returns an evaluation without a fault, changed."""
    fields = {"result": result(random), "controls": CONTROLS, "convergence": CONVERGED, "bespoke": True} | changes
    return Case(**fields)


# the name, the evaluation, the part and criterion that are graded, and the letter of both
CASES: dict[str, tuple[Callable[[], Case], str, Code, Letter]] = {
    "errored 0": (lambda: good(result=errored(result(), 0)), "integrity", Code.ERRORS, B),
    "errored 2 %": (lambda: good(result=errored(result(), 10)), "integrity", Code.ERRORS, C),
    "errored 2.2 %": (lambda: good(result=errored(result(), 11)), "integrity", Code.ERRORS, D),
    "errored 10 %": (lambda: good(result=errored(result(), 50)), "integrity", Code.ERRORS, D),
    "errored 10.2 %": (lambda: good(result=errored(result(), 51)), "integrity", Code.ERRORS, F),
    "unfinished": (lambda: good(result=replace(result(), complete=False)), "integrity", Code.COMPLETENESS, B),
    "gradient mode": (lambda: good(result=warned(result(), WarningCode.GRADIENT_MODE)), "integrity", Code.CONTRACT, D),
    "probabilities": (lambda: good(result=warned(result(), WarningCode.PROBABILITIES)), "integrity", Code.CONTRACT, D),
    "library": (lambda: good(result=warned(result(), WarningCode.LIBRARY)), "integrity", Code.LIBRARY, B),
    "own verdict": (
        lambda: good(result=changed(result(), apgd={"claims": (1,) * 251 + (1,) * 249})),
        "integrity",
        Code.VERDICTS,
        B,
    ),
    "in memory": (
        lambda: good(result=replace(result(), spec={"name": "in-memory:x", "params": {}})),
        "integrity",
        Code.REPEATABILITY,
        B,
    ),
    "below its truth": (
        lambda: good(controls=(*CONTROLS, control("x", below_proof=True))),
        "integrity",
        Code.TRUTHS,
        F,
    ),
    "zero gradient": (
        lambda: good(result=warned(result(), WarningCode.ZERO_GRADIENT)),
        "attack adequacy",
        Code.MASKING,
        D,
    ),
    "no controls": (lambda: good(controls=()), "attack adequacy", Code.CONTROLS, C),
    "controls 90 %": (lambda: good(controls=missed(2)), "attack adequacy", Code.CONTROLS, A),
    "controls 85 %": (lambda: good(controls=missed(3)), "attack adequacy", Code.CONTROLS, B),
    "controls 75 %": (lambda: good(controls=missed(5)), "attack adequacy", Code.CONTROLS, B),
    "controls 70 %": (lambda: good(controls=missed(6)), "attack adequacy", Code.CONTROLS, C),
    "controls 50 %": (lambda: good(controls=missed(10)), "attack adequacy", Code.CONTROLS, C),
    "controls 45 %": (lambda: good(controls=missed(11)), "attack adequacy", Code.CONTROLS, D),
    "transfer 75 %": (lambda: good(controls=missed(0, 5)), "attack adequacy", Code.WITHOUT_TRANSFER, A),
    "transfer 70 %": (lambda: good(controls=missed(0, 6)), "attack adequacy", Code.WITHOUT_TRANSFER, B),
    "transfer 50 %": (lambda: good(controls=missed(0, 10)), "attack adequacy", Code.WITHOUT_TRANSFER, B),
    "transfer 45 %": (lambda: good(controls=missed(0, 11)), "attack adequacy", Code.WITHOUT_TRANSFER, C),
    "transfer 25 %": (lambda: good(controls=missed(0, 15)), "attack adequacy", Code.WITHOUT_TRANSFER, C),
    "transfer 20 %": (lambda: good(controls=missed(0, 16)), "attack adequacy", Code.WITHOUT_TRANSFER, D),
    **{
        f"{text} 45 %, others {others}": (
            lambda more=more: good(**more),
            "attack adequacy",
            code,
            letter,
        )
        for text, code, others, more, letter in (
            ("recovered", Code.CONTROLS, "undecided", {"controls": some(9, Recovery.UNDECIDED, Recovery.RECOVERED)}, C),
            ("recovered", Code.CONTROLS, "unfinished", {"controls": CONTROLS[:9], "unscored": lost(11, "U")}, C),
            ("recovered", Code.CONTROLS, "errored", {"controls": CONTROLS[:9], "unscored": lost(11, "E")}, D),
            ("alone", Code.WITHOUT_TRANSFER, "undecided", {"controls": some(4, None, Recovery.UNDECIDED)}, C),
        )
    },
    "an errored control is not recovered": (
        lambda: good(controls=CONTROLS[:17], unscored=lost(3, "E")),
        "attack adequacy",
        Code.CONTROLS,
        B,
    ),
    "an inapplicable control is not counted": (
        lambda: good(unscored=lost(9, "I")),
        "attack adequacy",
        Code.CONTROLS,
        A,
    ),
    "undecided 10 of 20, missed 10": (
        lambda: good(controls=(*missed(20)[:11], *some(0, Recovery.UNDECIDED, Recovery.RECOVERED)[:9])),
        "attack adequacy",
        Code.CONTROLS,
        D,
    ),
    "no convergence": (lambda: good(convergence=None), "attack adequacy", Code.CONVERGENCE, C),
    "undecided": (
        lambda: good(convergence=converged(ConvergenceStatus.UNDECIDED)),
        "attack adequacy",
        Code.CONVERGENCE,
        C,
    ),
    "falling": (lambda: good(convergence=converged(ConvergenceStatus.FALLING)), "attack adequacy", Code.CONVERGENCE, D),
    "flat": (lambda: good(convergence=converged(ConvergenceStatus.FLAT)), "attack adequacy", Code.CONVERGENCE, D),
    "no gradient": (
        lambda: good(result=changed(result(), apgd={"gradient": "blind"})),
        "attack adequacy",
        Code.ADAPTIVITY,
        D,
    ),
    "bpda is a gradient": (
        lambda: good(result=changed(result(), apgd={"gradient": "bpda"})),
        "attack adequacy",
        Code.ADAPTIVITY,
        A,
    ),
    **{
        f"{view} is not the gradient of the defense": (
            lambda view=view: good(result=changed(result(), apgd={"gradient": view})),
            "attack adequacy",
            Code.ADAPTIVITY,
            D,
        )
        for view in ("stand-in(classifier=fashion-resnet)", "inner(module=classifier)", "estimated", "not-installed")
    },
    "noise is no mechanism": (
        lambda: good(result=changed(result(), square={"spec": {"name": "random-noise", "params": {}}})),
        "attack adequacy",
        Code.MECHANISMS,
        B,
    ),
    "a sequence has the mechanisms of its parts": (
        lambda: good(result=changed(without(result(), "apgd"), square=sequence("exact", "none"))),
        "attack adequacy",
        Code.MECHANISMS,
        A,
    ),
    "a sequence with substitutes only": (
        lambda: good(result=changed(without(result(), "apgd"), square=sequence("stand-in", "blind"))),
        "attack adequacy",
        Code.ADAPTIVITY,
        D,
    ),
    "the eot of a sequence is that of its parts": (
        lambda: good(result=changed(without(result(True), "apgd"), square=sequence("exact", "none", eot=10))),
        "attack adequacy",
        Code.EOT,
        A,
    ),
    **{
        f"eot {eot}": (
            lambda eot=eot: good(result=changed(result(True), apgd={"eot": eot})),
            "attack adequacy",
            Code.EOT,
            letter,
        )
        for eot, letter in ((10, A), (9, B), (4, B), (3, C), (2, C), (1, D))
    },
    "three mechanisms": (lambda: good(), "attack adequacy", Code.MECHANISMS, A),
    "two mechanisms": (lambda: good(result=without(result(), "square")), "attack adequacy", Code.MECHANISMS, B),
    "one mechanism": (
        lambda: good(result=without(result(), "square", "transfer")),
        "attack adequacy",
        Code.MECHANISMS,
        C,
    ),
    "not bespoke": (lambda: good(bespoke=False), "attack adequacy", Code.BESPOKE, B),
    **{
        f"{images} images": (
            lambda images=images: good(result=result(images=images, accuracy=0.02)),
            "precision",
            Code.IMAGES,
            letter,
        )
        for images, letter in ((500, A), (499, B), (200, B), (199, C), (30, C), (29, D), (10, D), (9, F))
        if images >= 50  # fewer images have wide intervals, see below
    },
    **{
        f"{draws} draws": (
            lambda draws=draws: good(result=result(True, draws=draws)),
            "precision",
            Code.DRAWS,
            letter,
        )
        for draws, letter in ((16, A), (15, B), (8, B), (7, C), (4, C), (3, D))
    },
}


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
    assert "--images" not in cures.change("more images", all_images=True)
    assert "--evidence" not in cures.run()
