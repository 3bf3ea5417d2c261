"""Tests the decision whether a new result is worse than an old one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from purebench.core.errors import PurebenchError
from purebench.records.outcome import Outcome
from purebench.results.ranking.comparisons import Pair, Side
from purebench.results.ranking.regression import Change, decided, other_conditions, overall, regressions
from purebench.results.results import DefenseResult
from purebench.statistics import compare

from synthetic import cascaded, judged, make_board, make_record, merge_all  # isort: skip

CODE = {"defense": "d1", "attacks": {"clean": "a1", "apgd": "a2"}}


def result(broken: int, images: int = 40, **provenance: object) -> DefenseResult:
    """Returns a deterministic result in which apgd breaks the first `broken` images."""
    board = make_board(defenses=("plain",), images=images, block=10)
    answers = {"clean": ["1"] * images, "apgd": ["0"] * broken + ["1"] * (images - broken)}
    records = [
        make_record(board, "plain", attack, place // 10, of[place : place + 10])
        for attack, of in answers.items()
        for place in range(0, images, 10)
    ]
    (found,) = merge_all(board, judged(board, records))
    return replace(found, provenance={**found.provenance, "code": CODE, **provenance})


def verdict(old: DefenseResult, new: DefenseResult, margin: float = 0.05, **options: object) -> Change:
    (found,) = regressions([(Side("a", old), Side("a", new))], margin, **options)  # type: ignore[arg-type]
    return found.verdict


def test_verdicts() -> None:
    better, worse = result(10), result(30)
    assert verdict(better, worse) is Change.WORSE
    assert verdict(worse, better) is Change.NOT_WORSE
    assert verdict(better, worse, margin=0.9) is Change.NOT_WORSE
    assert verdict(better, result(12)) is Change.UNDECIDED
    (found,) = regressions([(Side("a", better), Side("a", worse))], 0.05)
    assert found.pair.found.difference.value == pytest.approx(-0.5)  # new minus old
    assert found.to_dict()["verdict"] == "worse"


def test_a_significant_loss_within_the_margin_is_accepted_and_a_gain_is_never_worse() -> None:
    first, second = np.zeros(400), np.zeros(400)
    first[:40] = 1
    found = compare(second, first, images=(range(400), range(400)))
    pair = Pair("new", "old", found, found.p_value, apart=True)
    assert (found.difference.value, found.p_value < 0.001) == (pytest.approx(-0.1), True)
    assert [decided(pair, margin) for margin in (0.05, 0.2)] == [Change.WORSE, Change.NOT_WORSE]
    gain = compare(first, second, images=(range(400), range(400)))
    assert decided(Pair("new", "old", gain, gain.p_value, apart=True), 0.0) is Change.NOT_WORSE


def test_the_same_defense_with_the_same_answers_is_unchanged() -> None:
    old = result(4)
    assert verdict(old, result(4)) is Change.NOT_WORSE
    other_code = result(4, code={**CODE, "defense": "d2"})
    assert verdict(old, other_code) is Change.UNDECIDED
    assert verdict(old, result(5)) is Change.UNDECIDED
    assert verdict(old, replace(old, weights="ff" * 32)) is Change.UNDECIDED
    assert verdict(*(replace(old, provenance={**old.provenance, "code": {}}) for _ in "ab")) is Change.UNDECIDED


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"threat": {"norm": "linf", "radius": "8/255"}}, "the boards differ in threat"),
        ({"verify": {"draws": 8, "fresh": 8}}, "the boards differ in verify"),
    ],
)
def test_other_conditions_leave_the_verdict_undecided(change: dict[str, object], told: str) -> None:
    old, new = result(10), result(30)
    other = replace(new, board={**new.board, **change})
    assert other_conditions(old, other) == [told]
    assert verdict(old, other) is Change.UNDECIDED
    assert other_conditions(old, replace(new, board={**new.board, "name": "x", "confidence": 0.9})) == []


def test_attacks_of_other_code_leave_the_verdict_undecided() -> None:
    other = result(30, code={"defense": "d1", "attacks": {"clean": "a1", "apgd": "b2"}})
    assert other_conditions(result(10), other) == ["the code of attacks differs: apgd"]
    unknown = result(30, code={})
    assert other_conditions(result(10), unknown) == ["the code of attacks is known for one of them only"]
    assert other_conditions(unknown, unknown) == []
    assert verdict(result(10), other) is Change.UNDECIDED


def test_an_attack_whose_code_is_known_for_one_result_only_leaves_the_verdict_undecided() -> None:
    part = result(30, code={**CODE, "attacks": {"clean": "a1"}})
    told = ["the code of attacks is known for one of them only: apgd"]
    assert other_conditions(result(10), part) == other_conditions(part, result(10)) == told
    assert verdict(result(10), part) is Change.UNDECIDED


def test_other_code_of_the_classifier_is_told() -> None:
    """The code that all rows share; the hashes of the attacks cover purebench, but not the classifier."""
    one, two = (result(count, code={**CODE, "shared": text}) for count, text in ((10, "s1"), (30, "s2")))
    for old, new, told in ((one, two, "differs"), (one, result(30), "is known for one of them only")):
        (found,) = regressions([(Side("a", old), Side("a", new))], 0.05)
        assert found.verdict is Change.WORSE
        assert [told in remark for remark in found.remarks] == [True]
        assert found.to_dict()["remarks"] == list(found.remarks)
    (same,) = regressions([(Side("a", one), Side("a", one))], 0.05)
    assert same.remarks == ()
    (apart,) = regressions([(Side("a", one), Side("a", result(30, code={})))], 0.05)
    assert (len(apart.reasons), apart.remarks) == (1, ())  # the verdict is undecided for this reason already


def test_other_images_are_refused_or_the_shared_ones_are_compared() -> None:
    old, new = result(10), result(20, images=30)
    with pytest.raises(PurebenchError, match="expected two defenses on the same images"):
        verdict(old, new)
    assert verdict(old, new, shared=True) is Change.WORSE
    with pytest.raises(PurebenchError, match="--margin: expected a fraction"):
        verdict(old, old, margin=1.5)


def test_several_rows() -> None:
    worse, fine, open_one = Change.WORSE, Change.NOT_WORSE, Change.UNDECIDED
    assert overall([fine, open_one, worse]) is worse
    assert overall([fine, open_one]) is open_one
    assert overall([fine, fine]) is fine
    assert overall([]) is open_one


def test_p_values_of_several_rows_are_adjusted() -> None:
    """6 of 40 images worse: p = 2/64 alone is significant, and after Holm over two rows it is not."""
    one = (Side("a", result(10)), Side("a", result(16)))
    assert verdict(one[0].result, one[1].result) is Change.WORSE
    assert [found.verdict for found in regressions([one, one], 0.05)] == [Change.UNDECIDED] * 2


def test_errors_of_the_compared_attack_are_refused_instead_of_counted_as_wrong() -> None:
    old = result(10)
    codes = list(old.attacks[1].outcomes)
    failed = replace(old.attacks[1], outcomes=(Outcome.ERRORED, *codes[1:]), draws=("", *old.attacks[1].draws[1:]))
    new = replace(old, attacks=(old.attacks[0], failed))
    with pytest.raises(PurebenchError, match=f"plain, {failed.name}: expected an answer for each image, but 1 images"):
        regressions([(Side("row", old), Side("row", new))], 0.05, attack=failed.name)


def test_an_attack_of_a_cascade_is_not_compared(build: SimpleNamespace) -> None:
    """The images that an earlier attack broke are missing under the later one, however many they are."""
    right, half = ["1"] * 40, ["1"] * 20 + ["0"] * 20
    old, new = (
        build.results({"a": cascaded({"clean": right, "apgd": apgd, "square": square})}, block=10, cascade=True)[2][0]
        for apgd, square in ((right, half), (half, right))
    )
    for shared in (False, True):
        with pytest.raises(PurebenchError, match="a, square: expected an attack on all images"):
            regressions([(Side("a", old), Side("a", new))], 0.05, attack="square", shared=shared)
