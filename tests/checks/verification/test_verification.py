"""Tests that honest bundles are verified, that forged ones are refuted, and that foreign code needs consent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from boards import write_board
from forged_bundles import forged, sha256, toy_bundle

from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.checks.verification import queries
from purebench.checks.verification.report import as_plain, markdown, notes, repeat
from purebench.checks.verification.verification import Verification, verify_bundle
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.execution.jobs import verification as jobs_verification
from purebench.results.files.bundles.writing import make_bundle
from purebench.results.files.verdicts import Badge
from purebench.statistics.reproduction import Conclusion

STRONG = {"use": {"pgd": {"steps": 10, "step": 0.2, "random": False}}, "gradient": "exact"}
WEAK = {"use": {"pgd": {"steps": 1, "step": 0.2, "random": False}}, "gradient": "exact"}


def attacks(pgd: dict[str, Any]) -> dict[str, Any]:
    return {"clean": {"use": "clean"}, "pgd": pgd}


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("strong"), attacks=attacks(STRONG))


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("weak"), attacks=attacks(WEAK))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a random defense on real images."""
    folder = tmp_path_factory.mktemp("noisy")
    board = {"attacks": attacks({"use": "pgd(steps=3)", "gradient": "exact"}), "verify": {"draws": 6, "fresh": 8}}
    board |= {"defenses": {"noise": "gaussian-noise(sigma=0.2)"}, "threat": {"norm": "linf", "radius": "4/255"}}
    path = write_board(folder, images=100, block=50, **board)
    run_board(load_board(path), folder / "store.sqlite", workers=1)
    (folder / "noise.zip").write_bytes(make_bundle(folder / "store.sqlite", "small", "noise"))
    return folder / "noise.zip"


def verified(path: Path, seed: int = 1, **options: Any) -> Verification:
    return verify_bundle(path, seed=seed, **{"trust": True} | options)


def changed(path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Writes a forged bundle beside an honest one."""
    made = path.with_name("forged.zip")
    made.write_bytes(forged(path.read_bytes(), edit))
    return made


# ---- honest bundles


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_bundle_of_a_deterministic_row_is_verified(strong: Path, seed: int) -> None:
    found = verified(strong, seed)
    assert (found.conclusion, found.badge) == (Conclusion.VERIFIED, Badge.VERIFIED)
    assert [(test.claimed, test.found) for test in found.tests[:2]] == [(0.5, 0.5), (1.0, 1.0)]
    assert found.repetition is not None
    assert (found.repetition.attacked, found.repetition.broken) == (20, ())


def test_an_honest_bundle_of_a_random_row_is_verified_with_other_draws(noisy: Path) -> None:
    one, two = (verified(noisy, seed, images=8, attacks=False) for seed in (1, 2))
    assert one.conclusion is two.conclusion is Conclusion.VERIFIED
    assert 0 < one.tests[0].claimed < 1
    assert one.tests[0].found != two.tests[0].found  # the verifier's own draws
    assert verified(noisy, 1, attacks=False).tests == one.tests


def test_repeated_attacks_have_random_numbers_of_their_own_and_attack_images_claimed_robust(
    noisy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[int], set[str]]] = []
    from purebench.checks.verification import repeated_attacks

    def watched(jobs: Any, context: Any, *rest: Any) -> Any:
        seen.append(({int(one) for one in context.order}, {job.stream for job in jobs}))
        return whole(jobs, context, *rest)

    whole = repeated_attacks.execute
    monkeypatch.setattr(repeated_attacks, "execute", watched)
    for seed in (1, 1, 2):
        result = verified(noisy, seed, images=6).bundle.result
    robust = {
        image for image, one in zip(result.images, result.worst_case.outcomes, strict=True) if one.value == "robust"
    }
    assert all(images <= robust and len(images) == 6 for images, _ in seen)
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
    found = verified(strong, images=5)
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


def test_attacks_at_a_tenth_of_the_effort_are_refuted_by_repeating_them(strong: Path, weak: Path) -> None:
    """The weak attack breaks no image, and the claimed one breaks half of them."""

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
        assert len(found.repetition.broken) >= 5
    assert any("with these images the robust accuracy is at most" in note for note in notes(found))


def test_other_weights_are_never_verified(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["result"]["weights"] = "0" * 64

    found = verified(changed(strong, other))
    assert found.conclusion is Conclusion.UNDECIDED
    assert "the weights of the rebuilt defense differ from those of the bundle" in found.remarks


# ---- invalid bundles


def move(row: int, by: float) -> Callable[[dict[str, Any]], None]:
    def edit(parts: dict[str, Any]) -> None:
        image = parts["examples"][row]
        parts["examples"][row] = np.clip(image + np.float32(by) * np.sign(0.5 - image), 0, 1)

    return edit


def test_examples_outside_the_threat_model_and_wrong_distances_are_refused(strong: Path) -> None:
    with pytest.raises(PurebenchError, match=r"expected adversarial examples within the radius 0\.05"):
        verified(changed(strong, move(3, 0.3)))

    def nearer(parts: dict[str, Any]) -> None:
        parts["result"]["worst_case"]["distances"][3] = 0.001

    with pytest.raises(PurebenchError, match=r"at the distance 0\.001 that the result claims"):
        verified(changed(strong, nearer))


def test_other_images_are_refused(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["result"]["provenance"]["data"] = "0" * 64

    with pytest.raises(PurebenchError, match="expected the images that the bundle was made with"):
        verified(changed(strong, other))

    def relabelled(parts: dict[str, Any]) -> None:
        parts["result"]["labels"][79] = 1 - parts["result"]["labels"][79]

    with pytest.raises(PurebenchError, match="expected the images that the bundle was made with"):
        verified(changed(strong, relabelled))


def test_a_defense_that_is_random_is_not_taken_for_a_deterministic_one(noisy: Path) -> None:
    def swap(parts: dict[str, Any]) -> None:
        parts["result"]["spec"] = {"name": "none", "params": {}}
        parts["board"]["defenses"] = {"noise": "none"}

    with pytest.raises(PurebenchError, match="expected a defense that is random"):
        verified(changed(noisy, swap))


def test_a_defense_that_fails_is_an_error_and_no_verdict(strong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> torch.Tensor:
        raise RuntimeError("no answer today")

    monkeypatch.setattr(queries, "verify", fails)
    with pytest.raises(PurebenchError, match=r"the rebuilt defense .* fails: RuntimeError: no answer today"):
        verified(strong)


# ---- settings


def test_the_settings_must_be_those_of_the_board(strong: Path, weak: Path, tmp_path: Path) -> None:
    assert verified(strong, attacks=False, board=str(strong.parent / "board.yaml")).conclusion is Conclusion.VERIFIED
    with pytest.raises(PurebenchError, match=r"expected the settings of .*, but these differ: .*attacks\.pgd"):
        verified(weak, attacks=False, board=str(strong.parent / "board.yaml"))


def test_a_bundle_that_names_a_bundled_board_needs_its_settings(strong: Path) -> None:
    def renamed(parts: dict[str, Any]) -> None:
        for board in (parts["result"]["board"], parts["board"]):
            board["name"] = "fashion-quick"
        parts["manifest"]["board"] = "fashion-quick"

    found = verified(changed(strong, renamed))
    assert found.conclusion is Conclusion.UNDECIDED
    assert any("the settings differ from those of the bundled board fashion-quick" in one for one in found.remarks)


# ---- consent


def test_files_are_run_only_with_consent_and_only_if_they_are_those_of_the_bundle(tmp_path: Path) -> None:
    path = toy_bundle(tmp_path / "author")
    (tmp_path / "author" / "toy.py").rename(tmp_path / "toy.py")
    with pytest.raises(PurebenchError, match="but it is missing; get it from the authors"):
        verified(path)
    with pytest.raises(
        PurebenchError, match=r"runs Python code: .*toy\.py; read this code, then add --trust to run it\."
    ):
        verified(path, code=tmp_path, trust=False)
    assert verified(path, code=tmp_path, attacks=False).conclusion is Conclusion.VERIFIED
    ran = tmp_path / "ran"
    text = (tmp_path / "toy.py").read_text(encoding="utf-8")
    (tmp_path / "toy.py").write_text(f"open({str(ran)!r}, 'w')\n{text}", encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"but .*toy\.py differs"):
        verified(path, code=tmp_path)
    assert not ran.exists()


# ---- costs and reports


def test_the_queries_are_forward_only_and_one_per_claimed_draw(noisy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(defense: Any, x: torch.Tensor, y: torch.Tensor, draws: int, batch: Any) -> torch.Tensor:
        asked.append(len(x) * draws)
        assert not torch.is_grad_enabled() or not x.requires_grad
        return jobs_verification.verify(defense, x, y, draws, batch)

    monkeypatch.setattr(queries, "verify", counted)
    verified(noisy, attacks=False)
    assert sum(asked) == 100 * (8 + 6)


def test_the_report_repeats_itself_and_its_text_is_inert(strong: Path) -> None:
    found = verified(strong, images=20)
    plain = as_plain(found)
    assert (plain["conclusion"], plain["exit_code"], plain["badge"]) == ("verified", 0, "verified")
    assert repeat(found, "row.zip", trust=True) == "purebench verify row.zip --seed 1 --images 20 --trust"
    text = markdown(found, "purebench verify 'a|b`<img src=x onerror=alert(1)>@team.zip'\n# heading")
    assert "\n# heading" not in text
    last = text.splitlines()[-1]
    assert last == "Repeat it: `purebench verify 'a¦b'<img src=x onerror=alert(1)>@team.zip'\\n# heading`"


@pytest.mark.parametrize("row", ["noise", "blur"])
def test_without_attacks_it_costs_at_most_a_twentieth_of_the_attacks_on_fashion_linf(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts passes on two images, to which both costs are proportional; a part of the attacks is dear enough."""
    names, kinds = ("clean", "apgd", "latent", "square"), ("none", "exact", "bpda", "blind", "surrogate")
    whole = load_board(find_board("fashion-linf"))
    board = replace(
        whole,
        attacks=tuple(one for one in whole.attacks if one.use.name in names and one.gradient in kinds),
        defenses=tuple(one for one in whole.defenses if one.name == row),
        dataset=replace(whole.dataset, images=2, block=2),
    )
    board = replace(board, attacks=tuple(attack for attack in board.attacks if attack.only != "source"))
    run_board(board, tmp_path / "store.sqlite", workers=1)
    (tmp_path / "row.zip").write_bytes(make_bundle(tmp_path / "store.sqlite", "fashion-linf", row))
    passed: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        passed.append(len(inputs[0]) if isinstance(module, Defense) else 0)

    def counted(*arguments: Any) -> torch.Tensor:
        with torch.nn.modules.module.register_module_forward_pre_hook(count):
            return jobs_verification.verify(*arguments)

    monkeypatch.setattr(queries, "verify", counted)
    result = verify_bundle(tmp_path / "row.zip", seed=1, attacks=False).bundle.result
    spent = sum(attack.weighted_passes for attack in result.attacks)
    assert 0 < sum(passed) <= 0.05 * spent, (sum(passed), spent)
