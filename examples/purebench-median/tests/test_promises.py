"""Tests the claims of the package about its defense and its attack."""

import pytest
import torch

from purebench import Effort, PurebenchError, Spec, ThreatModel, create


def test_a_narrow_width_is_the_median():
    x = torch.rand(2, 1, 8, 8)
    soft, hard = (create("defenses", Spec.parse(text)) for text in ("soft-median(width=1e-4)", "median"))
    assert torch.allclose(soft(x)[..., 1:-1, 1:-1], hard(x)[..., 1:-1, 1:-1], atol=1e-3)


def test_bad_input_is_told():
    with pytest.raises(PurebenchError, match="expected an odd size, such as 3, but got 2"):
        create("defenses", Spec.parse("soft-median(size=2)"))


def test_salt_stays_in_the_threat_and_moves_its_share():
    x, threat = torch.full((4, 1, 32, 32), 0.5), ThreatModel("linf", 0.1)
    moved = (create("attacks", Spec.parse("salt(share=0.3)"))(None, x, None, threat) - x).abs()
    assert float(moved.max()) == pytest.approx(0.1)
    assert float((moved > 0).float().mean()) == pytest.approx(0.3, abs=0.03)


def test_the_defense_keeps_clean_images(robustness):
    robustness.clean_at_least("soft-median", 0.4)


def test_its_evaluation_can_be_trusted(robustness):
    robustness.honest("soft-median", effort=Effort(steps=6, queries=10))


@pytest.mark.robustness(undecided="warn")
def test_it_is_not_worse_than_the_median(robustness):
    robustness.not_worse_than("soft-median", "median", margin=0.3)
