"""Tests of bundles in which images have no score, or in which no image is claimed robust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forged_bundles import toy_bundle
from toy_verification import STRONG, attacks, changed, verified

from purebench.boards.parse import load_board
from purebench.checks.verification import verification
from purebench.core.errors import PurebenchError
from purebench.execution.context import prepare
from purebench.results.files.verdicts import Badge
from purebench.statistics.reproduction import Conclusion

HALF = """
import torch
from torch import nn
from purebench.core.defense import Defense
from toy import signs

def images():
    import toy
    return toy.images()

class Three(nn.Module):
    def forward(self, x):
        score = ((x - 0.5) * signs().to(x)).flatten(1).sum(1)
        return torch.stack([score, -score, torch.full_like(score, -99.0)], 1)

def three():
    return Three()

def forty(classifier):
    '''Right on 40 % of the draws where the classifier is right.'''
    def answer(x):
        keep = torch.rand(len(x), 1) < 0.4
        return torch.where(keep, classifier(x), torch.tensor([[0.0, 0.0, 1.0]]))
    return Defense(answer, random=True)
"""


def hide(parts: dict[str, Any], outcome: str) -> None:
    """Gives all broken images this outcome under every attack, so that they have no score."""
    result, examples = parts["result"], parts["manifest"]["examples"]
    worst = result["worst_case"]
    broken = [row for row, one in enumerate(worst["outcomes"]) if one != "robust"]
    assert len(broken) == 40
    for of in (worst, *result["attacks"]):
        for row in broken:
            of["outcomes"][row], of["draws"][row], of["distances"][row] = outcome, "", None
        for name in ("nearest", "claims", "picked"):
            for row in broken if of.get(name) else ():
                of[name][row] = None
    kept = [place for place, row in enumerate(examples["stored"]) if row not in broken]
    examples["stored"], parts["examples"] = [examples["stored"][place] for place in kept], parts["examples"][kept]
    for row in broken:
        examples["hashes"][row] = None


def test_images_that_all_attacks_skip_make_a_bundle_invalid(strong: Path) -> None:
    with pytest.raises(
        PurebenchError, match="expected a score of every image of the row, but 40 of 80 images are skip"
    ):
        verified(changed(strong, lambda parts: hide(parts, "skipped")), attacks=False)


def test_images_that_errored_leave_the_row_undecided(strong: Path) -> None:
    found = verified(changed(strong, lambda parts: hide(parts, "errored")), attacks=False)
    assert (found.conclusion, found.badge) == (Conclusion.UNDECIDED, Badge.UNDECIDED)
    assert "40 of 80 images have no certain score: errored or skipped" in found.remarks


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The honest bundle of a random defense without any robust image, whose robust accuracy is 0 %."""
    folder = tmp_path_factory.mktemp("forty")
    (folder / "half.py").write_text(HALF, encoding="utf-8")
    return toy_bundle(
        folder,
        "forty",
        attacks=attacks({**STRONG, "eot": 8}),
        classifier="half.py:three",
        threat={"norm": "linf", "radius": 0.08},
        defenses={"forty": "half.py:forty"},
        verify={"draws": 64, "fresh": 32},
    )


def claim_the_clean_images(parts: dict[str, Any], clean: list[Any]) -> None:
    """Claims that the attacks found no better examples than the clean images, 12 of 32 draws of which are right."""
    result = parts["result"]
    worst, count = result["worst_case"], len(result["images"])
    for of, draws in ((worst, 32), (result["attacks"][1], 64)):
        of["draws"] = ["1" * (3 * draws // 8) + "0" * (draws - 3 * draws // 8)] * count
        of["outcomes"], of["distances"] = ["misclassified"] * count, [0.0] * count
    worst["picked"] = ["pgd"] * count
    parts["examples"] = np.stack(clean).astype("float32")


def test_attacks_are_repeated_if_no_image_is_claimed_robust(forty: Path) -> None:
    honest = verified(forty, 3, images=10)
    assert honest.bundle.result.robust is not None
    assert honest.bundle.result.robust.value == 0.0
    assert honest.conclusion is Conclusion.VERIFIED
    assert honest.verdict().attacked == 50
    context = prepare(load_board(forty.parent / "board.yaml"), "cpu")
    clean = list(context.images.take(list(range(80))).floats())
    lie = changed(forty, lambda parts: claim_the_clean_images(parts, clean))
    found = verified(lie, 4, images=10)
    assert found.tests[0].claimed == pytest.approx(0.375)
    assert found.verdict().attacked == 50
    assert found.conclusion is Conclusion.REFUTED


def test_without_a_repeated_attack_nothing_is_verified(strong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "repeat_attacks", lambda *_: None)
    found = verified(strong)
    assert (found.conclusion, found.badge) == (Conclusion.UNDECIDED, Badge.UNDECIDED)
    assert "no attack was repeated, because no image of the bundle has a score" in found.remarks
