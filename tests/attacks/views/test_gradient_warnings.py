"""Tests of the warnings about zero and non-finite gradients."""

import torch

from purebench.attacks.gradient import losses
from purebench.attacks.views.gradient_modes import exact
from purebench.core.defense import as_defense
from purebench.core.warning_codes import WarningCode

LOSS = losses.cross_entropy


def test_non_finite_gradients_count_as_zero_and_give_a_warning(small):
    case = small()

    def rooted(x):  # the slope of a square root at zero is infinite
        return case.net(x) + (x - x.detach()).abs().sqrt().sum((1, 2, 3))[:, None] * torch.arange(5.0)

    view = exact(as_defense(rooted))
    for _ in range(2):
        assert torch.isfinite(view.look(case.x, case.y, LOSS).gradient).all()
    (bad,) = (warning for warning in view.warnings if warning.code is WarningCode.NON_FINITE_GRADIENT)
    assert (bad.count, bad.of) == (24, 24)


def test_zero_gradients_on_some_images_give_a_warning_with_their_number(small):
    """Only the first image of each batch has a gradient."""
    case = small()

    def first_image_only(x):
        return case.net(torch.cat([x[:1], x[1:].detach()]))

    view = exact(as_defense(first_image_only))
    for _ in range(2):
        view.look(case.x, case.y, LOSS)
    assert [(one.code, one.count, one.of) for one in view.warnings] == [(WarningCode.ZERO_GRADIENT, 22, 24)]
    wrong = exact(as_defense(first_image_only))
    wrong.look(case.x, (case.y + 1) % 5, LOSS)  # expected for images that are already misclassified
    assert wrong.warnings == []


def test_zero_gradients_on_all_images_give_a_warning(small):
    """With saturated logits cross-entropy underflows to exactly zero, which looks like robustness."""
    case = small()
    view = exact(as_defense(lambda x: 1e6 * case.net(x)))
    view.look(case.x, case.y, losses.find("ce"))
    assert [warning.code for warning in view.warnings] == [WarningCode.ZERO_GRADIENT]
    for loss in ("ce-scaled", "dlr", "cw"):
        view = exact(as_defense(lambda x: 1e6 * case.net(x)))
        assert view.look(case.x, case.y, losses.find(loss)).gradient.any()
        assert view.notes == view.warnings == []


def test_zero_gradients_of_misclassified_images_give_no_warning():
    """DLR is constant if the true class ranks third."""
    weight = torch.tensor([[1.0], [2.0], [3.0]])
    view = exact(as_defense(lambda x: x.flatten(1) @ weight.T))
    assert not view.look(torch.full((1, 1, 1, 1), 0.5), torch.tensor([0]), losses.find("dlr")).gradient.any()
    assert view.notes == view.warnings == []


def test_a_gradient_that_sums_to_zero_gives_no_warning():
    weight = torch.tensor([1.0, -1.0, 1.0, -1.0])
    view = exact(as_defense(lambda x: torch.stack([x.flatten(1) @ weight, 0 * x.flatten(1) @ weight], 1)))
    look = view.look(torch.full((1, 1, 2, 2), 0.5), torch.tensor([1]), losses.find("cw"))
    assert look.gradient.sum() == 0
    assert look.gradient.any()
    assert view.notes == view.warnings == []
