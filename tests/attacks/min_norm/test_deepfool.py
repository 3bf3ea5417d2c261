"""Tests of DeepFool: the step to the nearest boundary, the candidate classes, and early exit."""

import pytest
import torch

from purebench.attacks.min_norm.deepfool import BEYOND, DeepFool
from purebench.attacks.min_norm.nearest_search import NearestSearch
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.threat import ThreatModel

WEIGHT = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 10.0], [-2.0, 0.0]])
BIAS = torch.tensor([1.0, 0.0, 0.0, 0.1])
"""Four classes on two pixels; at mid grey, the origin, class 0 leads classes 1, 2 and 3 by 1, 1 and 0.9."""


def four_classes(x):
    return (x - 0.5).flatten(1) @ WEIGHT.T + BIAS


def mid_grey(count=1):
    return torch.full((count, 1, 1, 2), 0.5)


@pytest.mark.parametrize(
    ("norm", "others", "expected"),
    [
        ("l2", [1, 2, 3], (0.0, 1 / 10)),  # lead / slope: 1/5, 1/10, 0.9/2
        ("l2", [1, 3], (1 / 5 * 3 / 5, 1 / 5 * 4 / 5)),
        ("l2", [3], (-0.9 / 2, 0.0)),
        ("linf", [1, 3], (1 / 7, 1 / 7)),  # 1/7 against 0.9/2
        ("linf", [2, 3], (0.0, 1 / 10)),
    ],
)
def test_the_step_equals_the_paper_formula_computed_by_hand(norm, others, expected):
    view = exact(as_defense(four_classes))
    step = DeepFool()._step(view, mid_grey(), torch.tensor([0]), torch.tensor([others]), norm).flatten()
    expected = torch.tensor(expected)
    longer = BEYOND * expected / (expected.norm() if norm == "l2" else expected.abs().max())
    torch.testing.assert_close(step, expected + longer, rtol=1e-4, atol=1e-6)


def test_candidates_are_the_most_likely_classes_except_the_true_one():
    nearest = NearestSearch(exact(as_defense(four_classes)), mid_grey(), torch.tensor([0]), "l2")
    index = torch.tensor([0])
    assert DeepFool(candidates=2)._others(nearest, index).tolist() == [[3]]
    assert sorted(DeepFool(candidates=4)._others(nearest, index)[0].tolist()) == [1, 2, 3]
    assert DeepFool(candidates=9)._others(nearest, index).shape == (1, 3)
    assert DeepFool(candidates=None)._others(nearest, index).shape == (1, 3)


def test_more_candidates_find_a_nearer_boundary():
    """The most likely other class is not the nearest one."""
    distance = {}
    for candidates in (2, 4):
        found = DeepFool(candidates=candidates)(
            exact(as_defense(four_classes)), mid_grey(), torch.tensor([0]), ThreatModel("l2", 1)
        )
        distance[candidates] = (found.images - mid_grey()).norm().item()
    assert distance[2] == pytest.approx(0.45, rel=2e-3)
    assert distance[4] == pytest.approx(0.1, rel=2e-3)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_images_leave_once_they_cross_the_boundary(linear, norm):
    """On a linear classifier one step crosses the boundary; ten forward passes then bisect the distance."""
    case = linear(6, norm)
    view = exact(case.defense)
    assert DeepFool()(view, case.x, case.y, ThreatModel(norm, 0.1)).claims.all()
    assert view.backwards == 5 * len(case.x)
    assert view.forwards == (1 + 5 + 1 + 1 + 10) * len(case.x)


def test_l1_is_rejected(small):
    case = small()
    with pytest.raises(PurebenchError, match="expected the norm linf or l2, but got l1; use fmn"):
        DeepFool()(exact(case.defense), case.x, case.y, ThreatModel("l1", 0.1))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"candidates": 1}, {"candidates": 0}, {"overshoot": -0.1}])
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        DeepFool(**wrong)
