"""What an attack sees: gradients against their definition, draws, micro-batches and faults."""

import re
from importlib.resources import files
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from torch import nn

from purebench import attacks
from purebench.attacks.best import Best
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.gradient.pgd import PGD
from purebench.attacks.native import Attack
from purebench.attacks.views.gradient_modes import blind, bpda, exact, no_gradient
from purebench.core.answers import DefenseFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, Function, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.core.warning_codes import WarningCode
from purebench.defenses.transforms.simple import Quantise

LOSS = losses.cross_entropy


def test_eot_gradient_is_the_mean_of_single_draws_under_the_same_noise(small):
    case, draws = small(noise=0.3, images=3), 8
    with seeded("noise"):
        together = exact(case.defense, eot=draws).look(case.x, case.y, LOSS)
    with seeded("noise"):  # the same noise, in the order of the draws in the pass
        noise = case.defense.classifier.sigma * torch.randn(3, draws, 1, 8, 8)
    single = [exact(as_defense(case.net)).look(case.x + noise[:, k], case.y, LOSS) for k in range(draws)]
    expected = torch.stack([look.gradient for look in single]).mean(0)
    torch.testing.assert_close(together.gradient, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.loss, torch.stack([look.loss for look in single]).mean(0))
    torch.testing.assert_close(together.logits, torch.stack([look.logits[:, 0] for look in single], 1))


def test_eot_gradient_converges_to_the_smoothed_gradient_at_the_monte_carlo_rate(small):
    """The error of a mean of n draws falls as n^(-1/2): the slope of log error against log n is -0.5."""
    case = small(noise=0.3, images=6)

    def gradient(draws, seed):
        with seeded("rate", str(draws), str(seed)):
            return exact(case.defense, eot=draws).look(case.x, case.y, LOSS).gradient.double()

    smoothed = torch.stack([gradient(4096, seed) for seed in range(4)]).mean(0)
    counts = [1, 4, 16, 64, 256]
    errors = [np.mean([(gradient(n, seed) - smoothed).square().sum().item() for seed in range(10)]) for n in counts]
    slope, _ = np.polyfit(np.log(counts), 0.5 * np.log(errors), 1)
    assert slope == pytest.approx(-0.5, abs=0.1)


def test_a_deterministic_defense_gets_one_draw(small):
    case = small()
    view = exact(case.defense, eot=16)
    assert view.look(case.x, case.y, LOSS).logits.shape == (12, 1, 5)
    assert view.scores(case.x, 7).shape == (12, 1, 5)
    assert (view.forwards, view.backwards) == (24, 12)


def test_draws_are_independent_and_counted(small):
    case = small(noise=0.3)
    view = exact(case.defense, eot=3)
    with seeded("draws"):
        logits = view.look(case.x, case.y, LOSS).logits
        assert view.scores(case.x, 5).shape == (12, 5, 5)
    assert not torch.equal(logits[:, 0], logits[:, 1])
    assert (view.forwards, view.backwards) == (12 * 3 + 12 * 5, 12 * 3)


def smooth(x):
    return x.square()


def surrogate(x):
    return 0.7 * x.square() + 0.1


def test_bpda_uses_the_purifier_forward_and_its_surrogate_backward(small):
    net = small().net
    x, y = small().x, small().y
    defense = as_defense(Defense(net, Function(smooth, random=False, surrogate=surrogate)))
    look = bpda(defense).look(x, y, LOSS)
    assert torch.equal(look.logits[:, 0], defense(x))  # bitwise equal
    purified = smooth(x).requires_grad_()
    (at_purified,) = torch.autograd.grad(LOSS(net(purified), y).sum(), purified)
    torch.testing.assert_close(look.gradient, at_purified * 1.4 * x)  # chain rule: the surrogate's slope is 1.4 x


def test_exact_differentiates_the_purifier(small):
    case = small()
    defense = as_defense(Defense(case.net, Function(smooth, random=False, surrogate=surrogate)))
    leaf = case.x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(LOSS(defense(leaf), case.y).sum(), leaf)
    torch.testing.assert_close(exact(defense).look(case.x, case.y, LOSS).gradient, expected)


def test_bpda_without_a_purifier_equals_exact(small):
    case = small()
    one, other = (make(case.defense).look(case.x, case.y, LOSS) for make in (bpda, exact))
    assert torch.equal(one.gradient, other.gradient)


def test_blind_uses_only_the_classifier(small):
    case = small()

    def forbidden(x):
        raise AssertionError("the purifier was queried")

    view = blind(Defense(case.net, Function(forbidden, random=True)), eot=4)
    look = view.look(case.x, case.y, LOSS)
    assert torch.equal(look.logits[:, 0], case.net(case.x))
    assert not view.random
    assert not view.decides  # the classifier's errors are not the defense's
    assert blind(case.defense).decides


def test_bpda_breaks_a_quantised_defense_and_exact_gradients_do_not(small, accuracy):
    """Rounding to 8 levels has zero gradient; with the identity as the surrogate the attack succeeds."""
    case = small(images=40)
    defense = as_defense(Defense(case.net, Quantise(8)))
    y = defense(case.x).argmax(1)
    threat, attack = ThreatModel("linf", 0.1), PGD(steps=20, random=False)
    assert exact(defense).look(case.x, y, LOSS).gradient.abs().max() == 0
    with seeded("quantise"):
        naive = attack(exact(defense), case.x, y, threat)
        through = attack(bpda(defense), case.x, y, threat)
    assert accuracy(defense, naive, y) == 1
    assert accuracy(defense, through, y) <= 0.2


@pytest.mark.parametrize("size", [1, 5, 12])
def test_the_device_batch_size_does_not_change_a_deterministic_result(small, size):
    case = small()

    def found(batch):
        view = exact(case.defense)
        view.batch = DeviceBatch(batch)
        with seeded("micro"):
            return PGD(steps=5)(view, case.x, case.y, ThreatModel("linf", 0.05))

    torch.testing.assert_close(found(size), found(256), rtol=0, atol=1e-6)


def test_out_of_memory_halves_the_batch_and_adds_a_note(small):
    case = small()

    def limited_memory(x):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return case.net(x)

    view = exact(as_defense(limited_memory))
    look = view.look(case.x, case.y, LOSS)
    assert view.batch.notes == [f"out of memory: device batch halved to {size}" for size in (6, 3)]
    torch.testing.assert_close(look.gradient, exact(case.defense).look(case.x, case.y, LOSS).gradient)


@pytest.mark.parametrize("view", [exact, bpda, blind, no_gradient])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: torch.full((len(x), 3), float("nan")), "finite logits"),
        (lambda x: torch.zeros(len(x)), r"shape \[12,K\] of K ≥ 2 classes, but got \[12\]"),
        (lambda x: torch.zeros(len(x) + 1, 3), r"but got \[13, 3\]"),
    ],
)
def test_invalid_logits_are_a_fault_of_the_defense(small, view, answer, message):
    case = small()
    with pytest.raises(DefenseFault, match=message):
        view(as_defense(answer)).scores(case.x)
    with pytest.raises(DefenseFault, match=message):
        view(as_defense(answer)).as_module()(case.x)


@pytest.mark.parametrize("make", [exact, no_gradient])
def test_a_view_without_a_gradient_raises_an_error(small, make):
    case = small()
    defense = as_defense(lambda x: case.net(x.detach()))
    with pytest.raises(PurebenchError, match="no gradient arrives"):
        make(defense).look(case.x, case.y, LOSS)
    with pytest.raises(PurebenchError, match="no gradient arrives"):
        make(defense).as_module()(case.x.clone().requires_grad_())
    assert make(defense).scores(case.x).shape == (12, 1, 5)


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


def test_logits_are_converted_to_the_dtype_of_the_images(small):
    case = small()
    for kind in (torch.float64, torch.float16):
        view = exact(as_defense(lambda x, kind=kind: case.net(x).to(kind)))
        assert view.look(case.x, case.y, LOSS).loss.dtype == torch.float32
        assert view.scores(case.x).dtype == torch.float32


def test_parameters_get_no_gradients(small):
    case = small()
    case.net.requires_grad_(True)
    exact(Defense(case.net)).look(case.x, case.y, LOSS)
    assert all(parameter.grad is None for parameter in case.net.parameters())


def test_the_module_returns_the_mean_log_probabilities_of_the_draws(small):
    case = small(noise=0.3)
    view = exact(case.defense, eot=6)
    with seeded("module"):
        given = view.as_module()(case.x)
    with seeded("module"):
        draws = exact(case.defense, eot=6).scores(case.x)
    torch.testing.assert_close(given, draws.log_softmax(2).mean(1))
    assert view.notes == ["sees the mean of the draws' log-probabilities"]


def test_the_module_gives_logits_and_gradients_of_a_deterministic_defense(small):
    case = small()
    view = exact(case.defense)
    leaf = case.x.double().requires_grad_()  # some libraries work in float64
    logits = view.as_module()(leaf)
    torch.testing.assert_close(logits, case.net(case.x))
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, case.y, reduction="sum"), leaf)
    torch.testing.assert_close(gradient.float(), exact(case.defense).look(case.x, case.y, LOSS).gradient)
    assert (view.forwards, view.backwards, view.notes) == (12, 12, [])


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


def test_bf16_is_used_in_gradient_passes_only_and_returned_as_float32(small):
    """Logits agree with float32 to the eight bits of bf16 and are returned as float32."""
    case = small(images=50)
    exactly, coarsely = exact(case.defense), exact(case.defense)
    coarsely.precision = "bf16"
    one, other = (view.look(case.x, case.y, losses.find("cw")) for view in (exactly, coarsely))
    assert other.logits.dtype == other.gradient.dtype == other.loss.dtype == torch.float32
    scale = one.logits.abs().max()
    assert 0 < (one.logits - other.logits).abs().max() < 0.05 * scale
    cosine = torch.nn.functional.cosine_similarity(one.gradient.flatten(1), other.gradient.flatten(1))
    assert cosine.min() > 0.95
    assert torch.equal(exactly.scores(case.x), coarsely.scores(case.x))  # scores are always computed in float32


def test_an_attack_in_bf16_is_as_strong_as_in_float32(linear):
    case = linear(4, "linf", spread=True)
    left = []
    for precision in ("float32", "bf16"):
        view = exact(case.defense)
        view.precision = precision
        with seeded("precision"):
            found = APGD(steps=30)(view, case.x, case.y, ThreatModel("linf", case.distance.median().item()))
        left.append((case.defense(found).argmax(1) == case.y).float().mean().item())
    assert left[0] == pytest.approx(0.5, abs=0.02)
    assert left[1] == pytest.approx(left[0], abs=0.05)


def test_an_image_misclassified_only_in_bf16_is_not_broken():
    """Near a boundary that bf16 rounds away, the bf16 answer is wrong and the defense's own answer is right."""
    weight = nn.Linear(1, 2, bias=False)
    weight.weight.data[:] = torch.tensor([[1.001], [1.0]])  # equal in bf16
    defense = as_defense(lambda x: weight(x.flatten(1)))
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    view = exact(defense)
    view.precision = "bf16"
    best = Best(view, x, y)
    look = view.look(x, y, losses.find("cw"))
    assert look.logits[0, 0, 0] == look.logits[0, 0, 1]
    assert best.see(torch.tensor([0]), x, look.loss, torch.tensor([[[0.0, 1.0]]])).all()
    assert best.open.all()


def test_the_public_view_class_is_the_one_passed_to_attacks(small):
    case = small(images=2)
    for make in (exact, bpda, blind, no_gradient):
        assert type(make(case.defense)) is attacks.View
    for name in ("look", "scores", "logits", "as_module", "warn", "note"):
        assert callable(getattr(attacks.View, name))
    assert get_type_hints(Attack.__call__)["view"] is attacks.View
    package = Path(str(files("purebench")))
    paths = [path for folder in (package, Path(attacks.__file__).parent) for path in folder.rglob("*.py")]
    defined = [path for path in paths if re.search(r"^class View\b", path.read_text("utf-8"), re.MULTILINE)]
    assert [path.name for path in defined] == ["view.py"]
