"""Tests that confirmed estimates are unbiased, and that the intervals of all confirmations cover together."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from purebench.attack_search.confirm import DefenseIdentity, _estimated, level, number_of
from purebench.attack_search.controls import BreakFrequency, MeasuredFault, read_controls
from purebench.core.errors import PurebenchError
from purebench.records.outcome import WORST_CASE


def test_the_confidence_of_the_kth_confirmation_spends_half_of_what_is_left() -> None:
    assert [level(0.95, k) for k in (1, 2, 3)] == pytest.approx([0.975, 0.9875, 0.99375])
    assert sum(1 - level(0.95, k) for k in range(1, 60)) == pytest.approx(0.05)


def record(spec: str, attack: str, weights: str = "w", source: str = "", row: str = "row") -> SimpleNamespace:
    facts = {"defense": {"spec": spec, "weights": weights}, "code": {"defense": {"source": source}}}
    return SimpleNamespace(defense=row, attack=attack, provenance=facts)


def same(spec: str, weights: str = "w", source: str = "") -> DefenseIdentity:
    return DefenseIdentity(spec, weights, source)


def test_the_number_counts_the_confirmed_attacks_of_the_same_defense_in_their_order() -> None:
    records = [
        record("a", "found-2"),
        record("a", WORST_CASE),
        record("b", "found-9"),
        record("a", "found-2"),
        record("a", "found-1"),
    ]
    assert number_of([], same("a"), "found-2") == 1
    assert number_of(records, same("a"), "found-2") == 1
    assert number_of(records, same("a"), "found-1") == 2
    assert number_of(records, same("a"), "found-3") == 3
    assert number_of(records, same("b"), "found-3") == 2


def test_the_number_counts_the_defense_whatever_its_row_or_its_file_is_named() -> None:
    done = [record("own.py:mine(k=1)", "found-1", source="s", row="first")]
    assert number_of([record("jpeg", "found-1", row="first")], same("jpeg"), "found-2") == 2
    assert number_of(done, same("own.py:mine(k=1)", source="edited"), "found-2") == 2
    assert number_of(done, same("folder/copy.py:mine(k=1)", source="s"), "found-2") == 2
    for other in (
        same("copy.py:mine(k=2)", source="s"),
        same("copy.py:other(k=1)", source="s"),
        same("copy.py:mine(k=1)", source="t"),
        same("copy.py:mine(k=1)", "other weights", "s"),
        same("copy.py:mine(k=1)"),
    ):
        assert number_of(done, other, "found-2") == 1
    assert number_of([record("a", "found-1"), record("b", "found-2")], same("c"), "found-3") == 1


def answers(rng: np.random.Generator, shares: np.ndarray, draws: int) -> SimpleNamespace:
    right = rng.random((len(shares), draws)) < shares[:, None]
    return SimpleNamespace(correct=right.tolist(), reasons=[], forwards=1, backwards=0, seconds={"attack": 1.0})


@pytest.mark.parametrize("random", [False, True])
def test_the_confirmed_estimate_is_unbiased_and_all_intervals_of_repeated_searches_cover(random: bool) -> None:
    """A user searches up to three times, keeps on while the result is above 30 %, and reports the smallest."""
    rng, draws, images = np.random.default_rng(1), (8 if random else 1), 40
    covered, errors, repeats = 0, [], 1500
    for _ in range(repeats):
        all_cover = True
        for number in (1, 2, 3):
            truths = rng.uniform(0.2, 0.5, 12)
            noisy = rng.binomial(24, truths) / 24  # dev results: the chosen one is biased
            truth = truths[noisy.argmin()]
            shares = rng.beta(2 * truth, 2 * (1 - truth), images) if random else (rng.random(images) < truth) * 1.0
            done = _estimated([answers(rng, shares, draws)], number, random, 0.95)
            errors.append(done.robust.value - truth)
            all_cover &= done.robust.low <= truth <= done.robust.high
            if done.robust.value < 0.3:
                break
        covered += all_cover
    assert abs(np.mean(errors)) < 4 * np.std(errors) / len(errors) ** 0.5
    assert covered / repeats >= 0.94


@pytest.mark.parametrize("random", [False, True])
def test_images_on_which_the_attack_failed_count_as_right(random: bool) -> None:
    """Half of the images are broken, and the attack fails on the others: the accuracy is 50 % and not 0 %."""
    draws = 4 if random else 1
    part = SimpleNamespace(
        correct=[[False] * draws] * 50 + [[]] * 50,
        reasons=["out of memory"],
        forwards=100,
        backwards=0,
        seconds={"attack": 1.0},
    )
    done = _estimated([part], 1, random, 0.95)
    assert (done.robust.value, done.robust.n, done.errored) == (0.5, 100, 50)
    assert done.robust.high > 0.59
    assert done.passes == 1


def test_an_attack_that_failed_on_every_image_is_an_error() -> None:
    failed = SimpleNamespace(correct=[[], []], reasons=["out of memory", ""], forwards=0, backwards=0, seconds={})
    with pytest.raises(PurebenchError, match="it failed: out of memory"):
        _estimated([failed], 1, False, 0.95)


def control(name: str, confirmed: float | None, **fields: object) -> MeasuredFault:
    usual = {
        "random": False,
        "inner": False,
        "seconds_per_pass": 1e-3,
        "minutes": 10.0,
        "images": 48,
        "truth": 0.1,
        "board": 0.6,
    }
    return MeasuredFault(name=name, confirmed=confirmed, **usual | fields)  # type: ignore[arg-type]


def test_controls_of_similar_cost_and_randomness_with_no_more_time_are_counted() -> None:
    controls = [
        control("broken", 0.14),
        control("not broken", 0.3),
        control("random", 0.1, random=True),
        control("slow", 0.1, seconds_per_pass=0.1),
        control("longer", 0.1, minutes=60.0),
    ]
    found = BreakFrequency.of(controls, random=False, inner=True, seconds_per_pass=2e-3, minutes=10.0)
    assert [one.name for one in found.similar] == ["broken", "not broken"]
    assert "broke 1 of 2 measured controls" in found.sentence()
    assert "not measured" not in found.sentence()
    assert "unknown (none of the 5" in BreakFrequency([], 5, 0).sentence()
    assert "unknown (no controls were measured)" in BreakFrequency([], 0, 3).sentence()


def test_controls_that_were_not_measured_are_said_to_be_unknown_and_the_share_has_an_interval() -> None:
    done = [control(f"broken {place}", 0.1) for place in range(7)]
    unknown = {"seconds_per_pass": None, "truth": None, "board": None}
    left = [control(f"unknown {place}", None, **unknown) for place in range(5)]
    other = [control(f"random {place}", None, random=True, **unknown) for place in range(3)]
    found = BreakFrequency.of([*done, *left, *other], random=False, inner=False, seconds_per_pass=1e-3, minutes=10.0)
    low = 100 * 0.025 ** (1 / 7)  # the closed form of the lower end if all are broken
    assert "broke 7 of 7 measured controls" in found.sentence()
    assert f"(100.0 % [{low:.1f}, 100.0], 95 % clopper-pearson; 5 of the same randomness are not measured)" in (
        found.sentence()
    )
    plain = found.to_dict()
    assert (plain["similar"], plain["broken"], plain["not_measured"]) == (7, 7, 5)
    assert plain["share"]["low"] == pytest.approx(low / 100)
    assert not left[0].broken


def test_controls_that_were_broken_through_their_own_parts_count_for_defenses_with_such_parts_only() -> None:
    controls = [
        control("part", 0.1, inner=True),
        control("of an earlier file", 0.1, inner=None),
        control("missed", 0.6),
        control("missed through a part", 0.6, inner=True),
    ]
    whole, parts = (
        BreakFrequency.of(controls, random=False, inner=inner, seconds_per_pass=1e-3, minutes=10.0)
        for inner in (False, True)
    )
    assert "broke 2 of 4 measured controls" in parts.sentence()
    assert (parts.other_parts, whole.other_parts) == (0, 2)
    assert "broke 0 of 2 measured controls" in whole.sentence()
    assert "not counted: 2 were broken through a part that classifies images by itself, which this defense lacks" in (
        whole.sentence()
    )
    alone = BreakFrequency.of(controls[:2], random=False, inner=False, seconds_per_pass=1e-3, minutes=10.0)
    assert "unknown (none of the 2 measured controls is similar; 2 were broken through a part" in alone.sentence()


def test_most_bundled_controls_were_broken_through_their_own_parts() -> None:
    """The figures of docs/breaking.md."""
    controls = read_controls()
    told = "12 of these 14 faults were broken through"
    assert sum(one.broken for one in controls) == 14
    assert sum(one.broken and one.inner for one in controls) == 12
    assert told in " ".join(Path("docs/breaking.md").read_text(encoding="utf-8").split())
    for one in controls:
        assert one.inner == ("inner(" in one.attack)


def test_a_file_of_controls_that_is_missing_or_damaged_is_an_error(tmp_path) -> None:
    with pytest.raises(PurebenchError, match="does not exist"):
        read_controls(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"controls": [{"name": 1}]}', encoding="utf-8")
    with pytest.raises(PurebenchError, match="is not one"):
        read_controls(tmp_path / "bad.json")
