"""Tests that honest bundles are verified, and that forged ones are refuted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forged_bundles import sha256, toy_bundle
from toy_verification import STRONG, WEAK, attacks, changed, verified

from purebench.checks.verification.report import notes
from purebench.results.files.verdicts import Badge
from purebench.statistics.reproduction import Conclusion

# ---- honest bundles


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_bundle_of_a_deterministic_row_is_verified(strong: Path, seed: int) -> None:
    found = verified(strong, seed)
    assert (found.conclusion, found.badge) == (Conclusion.VERIFIED, Badge.VERIFIED)
    assert [(test.claimed, test.found) for test in found.tests[:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert found.repetition is not None
    assert found.repetition.broken == ()
    assert found.tests[2].images == 40  # half of them are claimed robust


def test_an_honest_bundle_of_a_random_row_is_verified_with_other_draws(noisy: Path) -> None:
    one, two = (verified(noisy, seed, images=8, attacks=False) for seed in (1, 2))
    assert one.conclusion is two.conclusion is Conclusion.VERIFIED
    assert 0 < one.tests[0].claimed < 1
    assert one.tests[0].found != two.tests[0].found  # the verifier's own draws
    assert verified(noisy, 1, attacks=False).tests == one.tests


def test_repeated_attacks_have_random_numbers_of_their_own_and_a_random_sample_of_images(
    noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[int], set[str]]] = []
    seeds: list[int] = []
    from purebench.checks.verification import repeated_attacks

    def watched(jobs: Any, context: Any, *rest: Any) -> Any:
        seeds.append(context.board.seed)
        seen.append(({int(one) for one in context.order}, {job.stream for job in jobs}))
        return whole(jobs, context, *rest)

    whole = repeated_attacks.execute
    monkeypatch.setattr(repeated_attacks, "execute", watched)
    for seed in (1, 1, 2):
        result = verified(noisy, seed, images=6).bundle.result
    robust = {
        image for image, one in zip(result.images, result.worst_case.outcomes, strict=True) if one.value == "robust"
    }
    assert all(len(images) == round(6 * 100 / len(robust) + 0.5) and images & robust for images, _ in seen)
    assert any(images - robust for images, _ in seen)
    assert seeds == [1, 1, 2]  # the attacks' random numbers, also on equal images
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[2][0]
    assert not seen[0][1] & seen[2][1]


def test_without_attacks_the_badge_says_so_and_nothing_is_attacked(
    strong: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from purebench.checks.verification import verification

    monkeypatch.setattr(verification, "repeat_attacks", lambda *_: pytest.fail("attacked"))
    found = verified(strong, attacks=False)
    assert found.badge.value == "examples reproduced, attacks not re-run"
    assert "the attacks were not repeated: weak attacks are not detected" in notes(found)


def test_few_images_are_undecided(strong: Path) -> None:
    found = verified(strong, images=4)
    assert (found.conclusion, found.badge) == (Conclusion.UNDECIDED, Badge.UNDECIDED)
    assert any("too few images" in note and "--images" in note for note in notes(found))


# ---- forged bundles


def flip(images: int) -> Callable[[dict[str, Any]], None]:
    """Claims that so many more images are robust, on every draw."""

    def edit(parts: dict[str, Any]) -> None:
        result = parts["result"]
        wrong = [row for row, one in enumerate(result["worst_case"]["outcomes"]) if one == "misclassified"][:images]
        assert len(wrong) == images
        for of in (result["worst_case"], *result["attacks"]):
            for row in wrong:
                of["outcomes"][row] = "robust"
                of["draws"][row] = "1" * len(of["draws"][row])

    return edit


def test_an_inflated_accuracy_is_refuted(strong: Path, noisy: Path) -> None:
    for path, images in ((strong, 12), (noisy, 12)):
        found = verified(changed(path, flip(images)), attacks=False)
        assert found.conclusion is Conclusion.REFUTED
        assert found.tests[0].claimed > found.tests[0].found


def test_a_smaller_lie_beyond_the_margin_is_undecided(strong: Path) -> None:
    found = verified(changed(strong, flip(5)))
    assert found.conclusion is Conclusion.UNDECIDED
    assert found.tests[0].bound == pytest.approx(5 / 80)


def test_another_defense_is_refuted(strong: Path, weak: Path) -> None:
    """The examples are those of a defense without noise, and the row names a much noisier one."""

    def swap(parts: dict[str, Any]) -> None:
        name = f"{strong.parent / 'toy.py'}:broken"
        parts["result"]["spec"] = {"name": name, "params": {}}
        parts["board"]["defenses"] = {"linear": name}
        parts["manifest"]["code_files"][str(strong.parent / "toy.py")] = sha256((strong.parent / "toy.py").read_bytes())

    toy = strong.parent / "toy.py"
    before = toy.read_text(encoding="utf-8")
    try:
        toy.write_text(
            before + "\ndef broken(classifier):\n    return Defense(lambda x: classifier(1 - x))\n", encoding="utf-8"
        )
        assert verified(changed(strong, swap), attacks=False).conclusion is Conclusion.REFUTED
    finally:
        toy.write_text(before, encoding="utf-8")


def test_attacks_at_a_tenth_of_the_effort_are_refuted_by_repeating_them(tmp_path: Path) -> None:
    """The weak attack breaks no image, and the claimed one breaks all."""
    weak = toy_bundle(tmp_path, attacks=attacks(WEAK), threat={"norm": "linf", "radius": 0.1})

    def pretend(parts: dict[str, Any]) -> None:
        for board in (parts["result"]["board"], parts["board"]):
            board["attacks"]["pgd"]["use"] = STRONG["use"]
        parts["result"]["attacks"][1]["spec"] = {"name": "pgd", "params": STRONG["use"]["pgd"]}

    honest = verified(weak)
    assert honest.tests[0].claimed == 1.0
    assert honest.conclusion is Conclusion.VERIFIED  # its settings say so
    lie = changed(weak, pretend)
    assert verified(lie, attacks=False).badge is Badge.REPRODUCED
    for seed in range(5):
        found = verified(lie, seed)
        assert found.conclusion is Conclusion.REFUTED, seed
        assert found.repetition is not None
        assert len(found.repetition.broken) == found.repetition.robust == 20
    assert any("with these images the robust accuracy is at most" in note for note in notes(found))


def test_other_weights_are_never_verified(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["result"]["weights"] = "0" * 64

    found = verified(changed(strong, other))
    assert found.conclusion is Conclusion.UNDECIDED
    assert "the weights of the rebuilt defense differ from those of the bundle" in found.remarks
