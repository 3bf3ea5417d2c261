"""Tests of certificates: radii in the norm of the threat, None without a certificate, inapplicable defenses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from purebench.attacks.certify import Certify, within
from purebench.attacks.views.gradient_modes import no_gradient
from purebench.core.answers import Answer, Inapplicable
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Certificate, Defense
from purebench.core.errors import PurebenchError
from purebench.core.threat import ThreatModel

X, Y = torch.rand(4, 1, 3, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])


class CertifyingDefense(Defense):
    """Certifies class 0 for images 0 and 1 and class 2 for image 2, and abstains on image 3."""

    def __init__(self) -> None:
        super().__init__(lambda x: torch.zeros(len(x), 3))
        self.asked: dict[str, float] = {}

    def certify(self, x: Tensor, *, n0: int, n: int, alpha: float, batch: DeviceBatch) -> Certificate:
        self.asked = {"n0": n0, "n": n, "alpha": alpha}
        radii = torch.tensor([0.3, 0.3, 0.123456789, 0.0], dtype=torch.float64)
        return Certificate(torch.tensor([0, 0, 2, -1]), radii, passes=len(x) * (n0 + n))


@pytest.mark.parametrize(("norm", "share"), [("l2", 1.0), ("l1", 1.0), ("linf", 1 / 3)])
def test_radii_are_in_the_norm_of_the_threat_and_only_given_for_correct_predictions(norm, share):
    defense = CertifyingDefense()
    answer = Certify(n0=5, n=50, alpha=0.01)(no_gradient(defense), X, Y, ThreatModel(norm, 0.1))
    assert isinstance(answer, Answer)
    assert torch.equal(answer.images, X)
    assert answer.certified == [
        pytest.approx(0.3 * share, abs=1e-6),
        None,
        pytest.approx(0.1234567 * share, abs=1e-6),
        None,
    ]
    assert answer.certified[2] <= 0.123456789 * share
    assert answer.passes == 4 * 55
    assert defense.asked == {"n0": 5, "n": 50, "alpha": 0.01}


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_converted_ball_lies_inside_the_l2_ball(norm):
    """The farthest points of the l-inf ball are its corners, of the l1 ball those on the axes."""
    radius = within(norm, 0.5, 12)
    farthest = {"linf": radius * math.sqrt(12), "l2": radius, "l1": radius}[norm]
    assert 0.5 - 1e-6 < farthest <= 0.5


def test_a_defense_without_certificates_is_inapplicable():
    with pytest.raises(Inapplicable, match="no certificate"):
        Certify()(no_gradient(Defense(lambda x: torch.zeros(len(x), 3))), X, Y, ThreatModel("l2", 0.1))


@pytest.mark.parametrize("settings", [{"n": 0}, {"n0": True}, {"alpha": 0.0}, {"alpha": 0.5}])
def test_invalid_settings_are_rejected(settings):
    with pytest.raises(PurebenchError, match=r"expected a (whole|prob)"):
        Certify(**settings)
