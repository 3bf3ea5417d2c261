"""Tests of the C&W attack: Adam, the search for c, the confidence kappa, and early exit from a search."""

import pytest
import torch

from purebench.attacks.gradient.losses import margin
from purebench.attacks.min_norm.cw import CW, Adam
from purebench.attacks.views.gradient_modes import exact
from purebench.core.errors import PurebenchError
from purebench.core.threat import ThreatModel

L2 = ThreatModel("l2", 0.1)


def state(w):
    count = len(w)
    zero = torch.zeros_like(w)
    return Adam(torch.arange(count), zero, w, zero, zero, torch.zeros(count))


def test_adam_equals_torch_adam():
    torch.manual_seed(0)
    target, start = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.05)
    ours = state(start)
    for k in range(1, 31):
        optimiser.zero_grad()
        (theirs - target).square().sum().backward()
        optimiser.step()
        ours.step(2 * (ours.w - target), 0.05, k)
    torch.testing.assert_close(ours.w, theirs.detach())


def test_keep_drops_the_whole_state_of_removed_images():
    kept = state(torch.arange(3.0).view(3, 1, 1, 1))
    kept.keep(torch.tensor([True, False, True]))
    assert kept.index.tolist() == [0, 2]
    assert kept.w.flatten().tolist() == [0, 2]
    assert {len(getattr(kept, name)) for name in ("x", "w", "mean", "square", "loss")} == {2}


def test_kappa_enforces_a_margin_and_increases_the_distance(small):
    case = small(images=20)
    distances = []
    for kappa in (0.0, 1.0):
        answer = CW(searches=5, steps=40, kappa=kappa)(exact(case.defense), case.x, case.y, L2)
        assert answer.claims.all()
        assert (margin(case.defense(answer.images), case.y) >= kappa - 1e-4).all()
        distances.append(L2.size(answer.images - case.x))
    assert (distances[1] > distances[0]).all()


def test_more_searches_find_more_and_nearer_adversarial_examples(small):
    case = small(images=20)
    found = []
    for searches in (1, 4, 8):
        answer = CW(searches=searches, steps=30)(exact(case.defense), case.x, case.y, L2)
        found.append(torch.where(answer.claims, L2.size(answer.images - case.x), torch.inf))
    assert torch.isfinite(found[0]).float().mean() < 0.3  # the first c is far too small
    assert torch.isfinite(found[2]).all()
    assert (found[2] <= 1.002 * found[1]).all()
    assert (found[2] < 0.9 * found[1]).any()


def test_images_leave_a_search_without_progress(small):
    case = small(images=20)
    cost, median = [], []
    for leave in (False, True):
        view = exact(case.defense)
        answer = CW(searches=6, steps=60, leave=leave)(view, case.x, case.y, L2)
        cost.append(view.backwards)
        median.append(L2.size(answer.images - case.x).median().item())
    assert cost[0] == 6 * 60 * 20
    assert cost[1] < 0.9 * cost[0]
    assert median[1] <= 1.05 * median[0]


def test_a_search_that_succeeds_on_all_images_gives_no_warning(small):
    case = small()
    view = exact(case.defense)
    assert CW(searches=3, steps=60, c=100.0)(view, case.x, case.y, L2).claims.all()
    assert view.notes == view.warnings == []


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_norms_other_than_l2_are_rejected(small, norm):
    case = small()
    with pytest.raises(PurebenchError, match=f"expected the norm l2, but got {norm}; use fmn"):
        CW()(exact(case.defense), case.x, case.y, ThreatModel(norm, 0.1))


@pytest.mark.parametrize(
    "wrong", [{"searches": 0}, {"steps": 0}, {"rate": 0.0}, {"c": -1.0}, {"c": float("inf")}, {"kappa": -0.1}]
)
def test_invalid_settings_are_rejected(wrong):
    with pytest.raises(PurebenchError, match=next(iter(wrong))):
        CW(**wrong)
