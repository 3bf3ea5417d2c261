"""Tests that a control's truth is read image by image, and that other defenses have none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from purebench.attacks.known_truth import KnownTruth, control_of
from purebench.attacks.views.gradient_modes import no_gradient
from purebench.core.defense import Defense, Function
from purebench.core.defense.known_truth import Control, Truth
from purebench.core.errors import Inapplicable
from purebench.core.threat import ThreatModel

THREAT = ThreatModel("linf", 0.1)
X, Y = torch.rand(3, 1, 2, 2), torch.zeros(3, dtype=torch.long)


class Known(nn.Module):
    kind, hides = "oracle", "nothing"

    def __init__(self, high: list[float], reference: str = ""):
        super().__init__()
        self.high, self.reference = high, reference

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]

    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        return Truth(torch.tensor([0.0, 0.25, torch.nan], dtype=torch.float64), torch.tensor(self.high))


def test_bounds_are_given_image_by_image_and_images_stay_as_they_are() -> None:
    answer = KnownTruth()(no_gradient(Defense(Known([0.5, 0.25, torch.nan]))), X, Y, THREAT)
    assert torch.equal(answer.images, X)
    assert answer.truth is not None
    assert answer.control is not None
    assert [None if one is None else (one.low, one.high) for one in answer.truth] == [(0.0, 0.5), (0.25, 0.25), None]
    assert (answer.control.kind, answer.control.reference) == ("oracle", "")


def test_upper_bounds_that_a_reference_gives_are_left_open() -> None:
    nan = torch.nan
    open_ended = KnownTruth()(no_gradient(Defense(Known([nan, nan, nan], "none"))), X, Y, THREAT)
    unknown = KnownTruth()(no_gradient(Defense(Known([nan, nan, nan]))), X, Y, THREAT)
    assert open_ended.truth is not None
    assert [None if one is None else (one.low, one.high) for one in open_ended.truth] == [
        (0.0, None),
        (0.25, None),
        None,
    ]
    assert unknown.truth == [None, None, None]


def test_a_defense_without_truth_is_no_control_and_neither_is_one_behind_a_purifier() -> None:
    known = Known([0.5, 0.5, 0.5])
    assert isinstance(known, Control)
    assert control_of(Defense(known)) is known
    behind = Defense(known, Function(lambda x: x, random=False))
    assert control_of(behind) is None
    with pytest.raises(Inapplicable, match="no control"):
        KnownTruth()(no_gradient(behind), X, Y, THREAT)
