"""Tests of the losses against values computed by hand, and of their invariances."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from purebench.attacks.gradient import losses
from purebench.core.errors import Inapplicable, PurebenchError

LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
LABELS = torch.tensor([0, 0])


def test_cross_entropy_equals_values_computed_by_hand():
    expected = [math.log(math.e**2 + math.e + 1) - 2, math.log(1 + math.e**3 + math.e)]
    assert losses.cross_entropy(LOGITS, LABELS).tolist() == pytest.approx(expected, rel=1e-6)


def test_margin_equals_values_computed_by_hand():
    assert losses.margin(LOGITS, LABELS).tolist() == [-1.0, 3.0]


def test_others_excludes_the_true_class():
    found = losses.others(LOGITS, LABELS)
    assert found.gather(1, LABELS[:, None]).flatten().tolist() == [-math.inf] * len(LABELS)
    assert (found.amax(1) - LOGITS.gather(1, LABELS[:, None]).flatten()).tolist() == [-1.0, 3.0]


def test_mean_over_draws_averages_the_loss_of_each_image():
    logits = torch.stack([LOGITS, 2 * LOGITS, 6 * LOGITS], 1)  # margins scale with the logits: (1 + 2 + 6) / 3 = 3
    assert losses.mean_over_draws(losses.margin, logits, LABELS).tolist() == [-3.0, 9.0]


def test_dlr_equals_values_computed_by_hand():
    # -(2 - 1) / (2 - 0) and -(0 - 3) / (3 - 0)
    assert losses.difference_of_logits_ratio(LOGITS, LABELS).tolist() == pytest.approx([-0.5, 1.0])


def test_dlr_divides_by_the_gap_to_the_third_largest_logit():
    logits = torch.tensor([[5.0, 1.0, 4.0, -9.0, 3.0]])
    assert losses.difference_of_logits_ratio(logits, torch.tensor([0])).item() == pytest.approx(-(5 - 4) / (5 - 3))


def test_targeted_losses_equal_values_computed_by_hand():
    logits, aims = torch.tensor([[5.0, 1.0, 4.0, -9.0, 3.0]]), torch.tensor([[0, 1]])
    assert losses.find("cw", targeted=True)(logits, aims).item() == -4.0
    # -(5 - 1) / (5 - (3 + 1) / 2)
    assert losses.find("dlr", targeted=True)(logits, aims).item() == pytest.approx(-4 / 3)
    assert losses.find("ce", targeted=True)(logits, aims).item() == pytest.approx(logits.log_softmax(1)[0, 1].item())


def gradient_of(name, logits, labels, targeted=False):
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.find(name, targeted=targeted)(leaf, labels).sum(), leaf)
    return gradient


def test_pm_equals_values_computed_by_hand():
    odds = [math.exp(value) for value in (2.0, 1.0, 0.0)]
    assert losses.find("pm")(LOGITS, LABELS)[0].item() == pytest.approx((odds[1] - odds[0]) / sum(odds))
    found = losses.find("pm", targeted=True)(LOGITS, torch.tensor([[0, 2], [0, 1]]))
    assert found[0].item() == pytest.approx((odds[2] - odds[0]) / sum(odds))
    assert found[1].item() == pytest.approx(losses.find("pm")(LOGITS, LABELS)[1].item())  # class 1 is the largest


@given(st.floats(-8, 8), st.integers(0, 1))
def test_with_two_classes_pm_is_tanh_of_half_the_margin_and_the_gradients_are_parallel(gap, label):
    logits, labels = torch.tensor([[gap, 0.3]], dtype=torch.float64), torch.tensor([label])
    lead = losses.margin(logits, labels)
    torch.testing.assert_close(losses.find("pm")(logits, labels), torch.tanh(lead / 2))
    slope = (1 - torch.tanh(lead / 2) ** 2) / 2
    torch.testing.assert_close(gradient_of("pm", logits, labels), slope * gradient_of("cw", logits, labels))


@given(st.lists(st.floats(-20, 20), min_size=4, max_size=6), st.floats(-10, 10), st.integers(0, 3), st.booleans())
def test_pm_is_invariant_to_shifts_and_its_gradient_sums_to_zero(values, shift, label, targeted):
    logits = torch.tensor([values], dtype=torch.float64)
    labels = torch.tensor([[label, (label + 1) % 4]]) if targeted else torch.tensor([label])
    pm = losses.find("pm", targeted=targeted)
    torch.testing.assert_close(pm(logits + shift, labels), pm(logits, labels))
    assert gradient_of("pm", logits, labels, targeted).sum().item() == pytest.approx(0, abs=1e-12)


def test_pm_has_the_gradient_of_its_formula():
    """p_m d_km - p_y d_ky - (p_m - p_y) p_k, with m the largest other class."""
    p, own, most = LOGITS.softmax(1), LABELS, torch.tensor([1, 1])
    first, second = p.gather(1, most[:, None]), p.gather(1, own[:, None])
    unit = torch.eye(3)
    expected = first * unit[most] - second * unit[own] - (first - second) * p
    torch.testing.assert_close(gradient_of("pm", LOGITS, LABELS), expected)


def test_pm_does_not_replace_the_losses_of_logits_for_a_confident_classifier():
    """At logits × 100 the gradients of ce and pm are zero in float32; those of the margin and DLR are not."""
    logits, labels = 100 * torch.tensor([[3.0, 1.0, 0.0, -1.0]]), torch.tensor([0])
    assert not gradient_of("ce", logits, labels).any()
    assert not gradient_of("pm", logits, labels).any()
    assert gradient_of("cw", logits, labels).any()
    assert gradient_of("dlr", logits, labels).any()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scaled_cross_entropy_has_the_same_gradient_direction_at_every_scale(scale):
    """Plain cross-entropy underflows: at logits × 1e6 its gradient is exactly zero."""
    leaf = (scale * torch.tensor([[2.0, 1.0, 0.0]])).requires_grad_()
    (gradient,) = torch.autograd.grad(losses.find("ce-scaled")(leaf, torch.tensor([0])).sum(), leaf)
    unit = torch.tensor([[2.0, 1.0, 0.0]], requires_grad=True)
    (expected,) = torch.autograd.grad(losses.cross_entropy(unit, torch.tensor([0])).sum(), unit)
    torch.testing.assert_close(
        gradient * scale, expected, rtol=1e-4, atol=1e-6
    )  # the gap between the two largest logits is 1
    if scale > 1:
        (plain,) = torch.autograd.grad(losses.cross_entropy(leaf, torch.tensor([0])).sum(), leaf)
        assert not plain.any()


@given(
    st.lists(st.integers(-50, 50), min_size=4, max_size=8, unique=True),
    st.floats(0.1, 10),
    st.floats(-10, 10),
    st.integers(0, 3),
)
def test_dlr_is_invariant_to_scale_and_shift(values, scale, shift, label):
    logits, labels = torch.tensor([values], dtype=torch.float64), torch.tensor([label])
    transformed = losses.difference_of_logits_ratio(scale * logits + shift, labels)
    assert transformed.item() == pytest.approx(losses.difference_of_logits_ratio(logits, labels).item(), abs=1e-6)


@pytest.mark.parametrize("name", ["cw", "dlr", "pm"])
def test_margins_and_dlr_are_positive_exactly_for_misclassified_images(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        logits, labels = torch.randn(200, 5), torch.randint(5, (200,))
    assert torch.equal(losses.find(name)(logits, labels) > 0, logits.argmax(1) != labels)


def test_dlr_needs_three_classes_and_targeted_dlr_four():
    with pytest.raises(Inapplicable, match="at least 3 classes, but got 2"):
        losses.find("dlr")(LOGITS[:, :2], LABELS)
    with pytest.raises(Inapplicable, match="at least 4 classes, but got 3"):
        losses.find("dlr", targeted=True)(LOGITS, torch.tensor([[0, 1], [0, 1]]))


def test_an_unknown_loss_error_suggests_the_nearest_name():
    with pytest.raises(PurebenchError, match="did you mean 'dlr'"):
        losses.find("drl")
