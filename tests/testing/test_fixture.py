"""Tests the fixture `robustness` in this process: objects as defenses, settings, and messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import purebench
from purebench.checks.attack_variants import Effort
from purebench.checks.finding import CheckStatus
from purebench.core.defense import Function
from purebench.core.errors import PurebenchError
from purebench.results.grading.criteria.letters import Letter
from purebench.testing.claim import Claim
from purebench.testing.fixture import Robustness
from purebench.testing.settings import Settings

from claimed import write_claimed  # isort: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(store=tmp_path / "found", images=tmp_path / "images", board=write_claimed(tmp_path, images=16))


def test_an_object_is_evaluated_again_for_each_claim_and_not_stored(settings: Settings) -> None:
    told: list[Claim] = []
    factor = 1.0
    robustness = Robustness(settings, told.append)
    dimmer = Function(lambda x: factor * x, random=False)
    bright = robustness.clean_at_least(dimmer, 0.3)
    factor = 0.0  # the same object now computes another function
    dark = robustness.clean_at_least(dimmer, 0.8)
    assert (bright.result, dark.result) == (CheckStatus.HOLDS, CheckStatus.FAILS)
    assert told == [bright, dark]
    assert not settings.store.exists()
    assert "purebench.evaluate(defense" in dark.message


def test_not_worse_than_holds_for_a_large_margin_and_is_undecided_on_few_images(settings: Settings) -> None:
    found = Robustness(settings).not_worse_than("trades", "none", margin=1.0)
    assert found.result is CheckStatus.HOLDS
    assert found.estimate is not None
    assert found.estimate.value > 0
    same = Robustness(settings).not_worse_than("none", "none", margin=0.01, max_images=8)
    assert same.result is CheckStatus.UNDECIDED
    assert same.estimate is not None
    assert same.estimate.value == 0


def test_a_claim_that_holds_says_what_it_means(settings: Settings, tmp_path: Path) -> None:
    robustness = Robustness(settings.but({"board": write_claimed(tmp_path, images=32, radius="16/255")}))
    least, most = robustness.at_least("trades", 0.1), robustness.at_most("none", 0.5)
    assert (least.result, most.result) == (CheckStatus.HOLDS, CheckStatus.HOLDS)
    bound = "an upper bound: a stronger attack may break it further"
    assert least.message.splitlines() == [
        "trades on claimed: robust accuracy ≥ 10 %: holds",
        f"  meaning    not broken below 10 % by claimed ({least.images} images); {bound}",
    ]
    assert most.message.splitlines() == [
        "none on claimed: robust accuracy ≤ 50 %: holds",
        f"  meaning    broken to at most 50 % by claimed ({most.images} images): its adversarial examples prove it",
    ]
    assert (least.grade, robustness.clean_at_least("none", 0.2).grade) == (Letter.C, None)


def test_at_most_fails_if_the_accuracy_under_attack_is_above_and_is_undecided_if_it_may_be(settings: Settings) -> None:
    robustness = Robustness(settings)
    failed = robustness.at_most("trades", 0.05)
    assert failed.result is CheckStatus.FAILS
    assert "strongest  apgd-exact leaves" in failed.message
    assert failed.estimate is not None
    assert robustness.at_most("trades", failed.estimate.value, max_images=8).result is CheckStatus.UNDECIDED


def test_gradient_masking_leaves_a_claim_undecided_with_reason_and_cure(settings: Settings) -> None:
    """A quantised input has zero gradients, so that the attack breaks nothing and the interval alone would suffice."""
    rounded = Function(lambda x: (x * 8).round() / 8, random=False)
    robustness = Robustness(settings)
    found = robustness.at_least(rounded, 0.2)
    assert found.result is CheckStatus.UNDECIDED
    assert found.estimate is not None
    assert found.estimate.low >= 0.2
    assert "grade      D masking: apgd-exact: " in found.message
    assert "[zero-gradient]" in found.message
    assert "a purifier without a useful gradient declares differentiable = False" in found.message
    assert "raise it   an attack with rows: [" in found.message
    assert "evidence=True, evidence=True" not in found.message
    assert "more images may decide" not in found.message
    assert robustness.not_worse_than(rounded, "none", margin=1.0).result is CheckStatus.UNDECIDED
    assert robustness.not_worse_than("none", rounded, margin=1.0).result is CheckStatus.HOLDS
    assert robustness.at_most(rounded, 1.0).result is CheckStatus.HOLDS


def test_a_board_without_an_adaptive_attack_leaves_at_least_undecided(settings: Settings, tmp_path: Path) -> None:
    board = yaml.safe_load(Path(str(settings.board)).read_text(encoding="utf-8"))
    board["attacks"] = {"clean": {"use": "clean"}, "square": {"use": "square(queries=5)"}}
    (tmp_path / "black-box.yaml").write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    found = Robustness(settings).at_least("trades", 0.2, board=tmp_path / "black-box.yaml")
    assert (found.result, found.grade) == (CheckStatus.UNDECIDED, Letter.D)
    assert "grade      D adaptivity: no attack follows the gradient of the whole defense" in found.message
    assert "gradient: exact or gradient: bpda in the board.yaml, then purebench run" in found.message


def test_bespoke_attacks_of_the_board_decide_claims_about_one_row_and_no_comparison(
    settings: Settings, tmp_path: Path
) -> None:
    """The common suite leaves the row untouched; the attack that the board lists for it breaks it."""
    board = yaml.safe_load(Path(str(settings.board)).read_text(encoding="utf-8"))
    own = {"use": "apgd(steps=10)", "gradient": "exact", "rows": ["none"]}
    board["attacks"] = {"clean": {"use": "clean"}, "noise": {"use": "random-noise"}, "own": own}
    board["threat"]["radius"] = "16/255"
    path = tmp_path / "bespoke.yaml"
    path.write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    robustness = Robustness(settings.but({"board": path}))
    broken = robustness.at_most("none", 0.5)
    assert (broken.result, broken.strongest) == (CheckStatus.HOLDS, "own")
    assert robustness.at_least("none", 0.5).result is CheckStatus.FAILS
    compared = robustness.not_worse_than("none", "trades", margin=0.9)
    assert compared.estimate is not None
    assert compared.estimate.value > -0.3  # both under the common suite


def test_images_of_unknown_score_have_both_estimates(settings: Settings, tmp_path: Path) -> None:
    """An attack that raises leaves the images unknown that no other attack breaks."""
    source = "def boom():\n    def attack(view, x, y, threat):\n        raise RuntimeError('no')\n    return attack\n"
    (tmp_path / "boom.py").write_text(source, encoding="utf-8")
    board = yaml.safe_load(Path(str(settings.board)).read_text(encoding="utf-8"))
    board["attacks"]["boom"] = {"use": "boom.py:boom"}
    (tmp_path / "errors.yaml").write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    found = Robustness(settings.but({"board": tmp_path / "errors.yaml"})).at_most("trades", 0.99)
    assert found.result is CheckStatus.UNDECIDED
    assert "images is unknown: the estimate counts them as wrong; the other way round it is" in found.message
    assert "errored    the score of" in found.message


def test_an_errored_defense_fails_even_a_claim_of_0_percent(settings: Settings, tmp_path: Path) -> None:
    found = Robustness(settings).at_least(f"{tmp_path}/own.py:crash", 0.0)
    assert found.result is CheckStatus.FAILS
    assert found.estimate is None
    assert "RuntimeError: no answer today" in found.message
    assert "--retry-errors" in found.message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bord": "x"}, "robustness: the key 'bord' is unknown; did you mean 'board'"),
        ({"board": "fashion-quik"}, "'fashion-quik' is unknown; did you mean 'fashion-quick'"),
        ({"max_images": 0}, "max_images: expected a whole number of at least 1, but got 0"),
        ({"confidence": 95}, "confidence: expected a fraction, such as 0.4 for 40 %, but got 95"),
        ({"confidence": None}, "confidence: expected a fraction"),
        ({"budget": 0}, "budget: expected minutes, such as 10 or 0.5, but got 0"),
        ({"budget": [1]}, r"budget: expected minutes, such as 10 or 0.5, but got \[1\]"),
        ({"budget": "1h"}, "budget: expected minutes, such as 10 or 0.5, but got '1h'"),
        ({"undecided": "pass"}, "undecided: 'pass' is unknown; known: fail, skip, warn"),
        ({"store": 3}, "store: expected a folder, but got 3"),
        ({"device": "gpu"}, r"expected a device of this machine \(cpu.*\), but got 'gpu'"),
    ],
)
def test_invalid_settings_are_rejected_before_a_run(settings: Settings, changes: Any, told: str) -> None:
    with pytest.raises(PurebenchError, match=told):
        Robustness(settings).at_least("none", 0.5, **changes)
    assert not settings.store.exists()


def test_robust_accuracy_is_unknown_if_no_attack_applies(settings: Settings) -> None:
    """If no attack of the board applies, robust accuracy is unknown for any clean accuracy."""
    rounded = Function(lambda x: (x * 8).round() / 8, random=False, differentiable=False)
    robustness = Robustness(settings)
    assert robustness.clean_at_least(rounded, 0.2).result is CheckStatus.HOLDS
    for claim in (lambda: robustness.at_least(rounded, 0.2), lambda: robustness.not_worse_than("none", rounded)):
        with pytest.raises(PurebenchError, match=r"expected an attack on .* that applies to it, but there is none"):
            claim()
    report = purebench.evaluate(rounded, settings.board, images=4, progress=False)
    assert report.robust is None
    assert report.clean is not None
    assert "no attack applies" in repr(report)


def test_invalid_claims_are_rejected(settings: Settings) -> None:
    robustness = Robustness(settings)
    for claim, told in (
        (lambda: robustness.at_least("none", 40), "accuracy: expected a fraction"),
        (lambda: robustness.at_most("none", 40), "accuracy: expected a fraction"),
        (lambda: robustness.at_least("none", None), "accuracy: expected a fraction"),  # type: ignore[arg-type]
        (lambda: robustness.not_worse_than("none", "trades", margin=-1), "margin: expected a fraction"),
        (lambda: robustness.honest("none", effort=Effort(tolerance=1)), "tolerance: expected a fraction"),
        (lambda: robustness.honest("none", effort="high"), "effort: expected an Effort"),  # type: ignore[arg-type]
        (lambda: robustness.honest("none", effort=Effort(steps=0)), "steps: expected a whole number of at least 1"),
        (lambda: robustness.at_least("nono", 0.4), "'nono' is unknown; did you mean 'none'"),
        (lambda: robustness.at_least(torch.nn.Identity, 0.4), "got the class Identity; pass an instance"),  # type: ignore[arg-type]
    ):
        with pytest.raises(PurebenchError, match=told):
            claim()
