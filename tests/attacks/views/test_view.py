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
    with seeded("noise"):  # the same noise, in the order in which the draws of an image stand in the pass
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


def test_one_draw_where_nothing_is_random(small):
    case = small()
    view = exact(case.defense, eot=16)
    assert view.look(case.x, case.y, LOSS).logits.shape == (12, 1, 5)
    assert view.scores(case.x, 7).shape == (12, 1, 5)
    assert (view.forwards, view.backwards) == (24, 12)


def test_draws_are_fresh_and_counted(small):
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


def test_bpda_goes_forward_through_the_purifier_and_backward_through_its_surrogate(small):
    net = small().net
    x, y = small().x, small().y
    defense = as_defense(Defense(net, Function(smooth, random=False, surrogate=surrogate)))
    look = bpda(defense).look(x, y, LOSS)
    assert torch.equal(look.logits[:, 0], defense(x))  # to the last bit
    purified = smooth(x).requires_grad_()
    (at_purified,) = torch.autograd.grad(LOSS(net(purified), y).sum(), purified)
    torch.testing.assert_close(look.gradient, at_purified * 1.4 * x)  # chain rule: the surrogate's slope is 1.4 x


def test_exact_differentiates_the_purifier(small):
    case = small()
    defense = as_defense(Defense(case.net, Function(smooth, random=False, surrogate=surrogate)))
    leaf = case.x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(LOSS(defense(leaf), case.y).sum(), leaf)
    torch.testing.assert_close(exact(defense).look(case.x, case.y, LOSS).gradient, expected)


def test_bpda_of_a_defense_without_purifier_is_exact(small):
    case = small()
    one, other = (make(case.defense).look(case.x, case.y, LOSS) for make in (bpda, exact))
    assert torch.equal(one.gradient, other.gradient)


def test_blind_sees_the_classifier_alone(small):
    case = small()

    def forbidden(x):
        raise AssertionError("the purifier was asked")

    view = blind(Defense(case.net, Function(forbidden, random=True)), eot=4)
    look = view.look(case.x, case.y, LOSS)
    assert torch.equal(look.logits[:, 0], case.net(case.x))
    assert not view.random
    assert not view.decides  # the classifier's errors are not the defense's
    assert blind(case.defense).decides


def test_bpda_breaks_what_naive_gradients_cannot(small, accuracy):
    """Rounding to 8 levels has no slope: the exact gradient is zero, the identity's in its place breaks the net."""
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
def test_the_micro_batch_does_not_change_a_deterministic_result(small, size):
    case = small()

    def found(batch):
        view = exact(case.defense)
        view.batch = DeviceBatch(batch)
        with seeded("micro"):
            return PGD(steps=5)(view, case.x, case.y, ThreatModel("linf", 0.05))

    torch.testing.assert_close(found(size), found(256), rtol=0, atol=1e-6)


def test_out_of_memory_halves_the_batch_and_is_noted(small):
    case = small()

    def cramped(x):
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return case.net(x)

    view = exact(as_defense(cramped))
    look = view.look(case.x, case.y, LOSS)
    assert view.batch.notes == [f"out of memory: device batch halved to {size}" for size in (6, 3)]
    torch.testing.assert_close(look.gradient, exact(case.defense).look(case.x, case.y, LOSS).gradient)


@pytest.mark.parametrize("view", [exact, bpda, blind, no_gradient])
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: torch.full((len(x), 3), float("nan")), "finite logits"),
        (lambda x: torch.zeros(len(x)), r"shape \[12,K\] of K ≥ 2 classes, but got \[12\]"),
        (lambda x: torch.zeros(len(x) + 1, 3), r"but got \[13, 3\]"),
    ],
)
def test_an_answer_that_is_none_is_a_fault_of_the_defense(small, view, answer, told):
    case = small()
    with pytest.raises(DefenseFault, match=told):
        view(as_defense(answer)).scores(case.x)
    with pytest.raises(DefenseFault, match=told):
        view(as_defense(answer)).as_module()(case.x)


@pytest.mark.parametrize("make", [exact, no_gradient])
def test_a_view_without_a_gradient_says_so(small, make):
    case = small()
    defense = as_defense(lambda x: case.net(x.detach()))
    with pytest.raises(PurebenchError, match="no gradient arrives"):
        make(defense).look(case.x, case.y, LOSS)
    with pytest.raises(PurebenchError, match="no gradient arrives"):
        make(defense).as_module()(case.x.clone().requires_grad_())
    assert make(defense).scores(case.x).shape == (12, 1, 5)


def test_a_gradient_that_is_not_finite_counts_as_zero(small):
    case = small()

    def rooted(x):  # the slope of a square root at zero is infinite
        return case.net(x) + (x - x.detach()).abs().sqrt().sum((1, 2, 3))[:, None] * torch.arange(5.0)

    view = exact(as_defense(rooted))
    for _ in range(2):
        assert torch.isfinite(view.look(case.x, case.y, LOSS).gradient).all()
    (bad,) = (warning for warning in view.warnings if warning.code is WarningCode.NON_FINITE_GRADIENT)
    assert (bad.count, bad.of) == (24, 24)


def test_a_gradient_that_is_zero_on_some_images_is_noted_with_their_number(small):
    """A defense that passes the gradient of the first image of a batch alone."""
    case = small()

    def first_alone(x):
        return case.net(torch.cat([x[:1], x[1:].detach()]))

    view = exact(as_defense(first_alone))
    for _ in range(2):
        view.look(case.x, case.y, LOSS)
    assert [(one.code, one.count, one.of) for one in view.warnings] == [(WarningCode.ZERO_GRADIENT, 22, 24)]
    wrong = exact(as_defense(first_alone))
    wrong.look(case.x, (case.y + 1) % 5, LOSS)  # where nothing is left to attack it is no wonder
    assert wrong.warnings == []


def test_logits_of_another_type_are_taken_as_the_images_type(small):
    case = small()
    for kind in (torch.float64, torch.float16):
        view = exact(as_defense(lambda x, kind=kind: case.net(x).to(kind)))
        assert view.look(case.x, case.y, LOSS).loss.dtype == torch.float32
        assert view.scores(case.x).dtype == torch.float32


def test_no_parameter_gradients(small):
    case = small()
    case.net.requires_grad_(True)
    exact(Defense(case.net)).look(case.x, case.y, LOSS)
    assert all(parameter.grad is None for parameter in case.net.parameters())


def test_the_library_module_is_the_mean_of_log_probabilities(small):
    case = small(noise=0.3)
    view = exact(case.defense, eot=6)
    with seeded("module"):
        given = view.as_module()(case.x)
    with seeded("module"):
        draws = exact(case.defense, eot=6).scores(case.x)
    torch.testing.assert_close(given, draws.log_softmax(2).mean(1))
    assert view.notes == ["sees the mean of the draws' log-probabilities"]


def test_the_library_module_gives_logits_and_gradients_of_a_deterministic_defense(small):
    case = small()
    view = exact(case.defense)
    leaf = case.x.double().requires_grad_()  # some libraries work in float64
    logits = view.as_module()(leaf)
    torch.testing.assert_close(logits, case.net(case.x))
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, case.y, reduction="sum"), leaf)
    torch.testing.assert_close(gradient.float(), exact(case.defense).look(case.x, case.y, LOSS).gradient)
    assert (view.forwards, view.backwards, view.notes) == (12, 12, [])


def test_a_gradient_that_is_zero_everywhere_is_noted(small):
    """Saturated logits: cross-entropy underflows to an exact zero, which looks like robustness."""
    case = small()
    view = exact(as_defense(lambda x: 1e6 * case.net(x)))
    view.look(case.x, case.y, losses.find("ce"))
    assert [warning.code for warning in view.warnings] == [WarningCode.ZERO_GRADIENT]
    for loss in ("ce-scaled", "dlr", "cw"):
        view = exact(as_defense(lambda x: 1e6 * case.net(x)))
        assert view.look(case.x, case.y, losses.find(loss)).gradient.any()
        assert view.notes == view.warnings == []


def test_a_zero_gradient_where_all_is_wrong_already_is_no_wonder():
    """DLR is constant where the true class is the third."""
    weight = torch.tensor([[1.0], [2.0], [3.0]])
    view = exact(as_defense(lambda x: x.flatten(1) @ weight.T))
    assert not view.look(torch.full((1, 1, 1, 1), 0.5), torch.tensor([0]), losses.find("dlr")).gradient.any()
    assert view.notes == view.warnings == []


def test_a_gradient_whose_sum_happens_to_be_zero_is_no_zero_gradient():
    weight = torch.tensor([1.0, -1.0, 1.0, -1.0])
    view = exact(as_defense(lambda x: torch.stack([x.flatten(1) @ weight, 0 * x.flatten(1) @ weight], 1)))
    look = view.look(torch.full((1, 1, 2, 2), 0.5), torch.tensor([1]), losses.find("cw"))
    assert look.gradient.sum() == 0
    assert look.gradient.any()
    assert view.notes == view.warnings == []


def test_bf16_passes_are_coarse_and_their_losses_are_not(small):
    """The logits agree with float32 to bf16's eight bits, and come back as float32."""
    case = small(images=50)
    exactly, coarsely = exact(case.defense), exact(case.defense)
    coarsely.precision = "bf16"
    one, other = (view.look(case.x, case.y, losses.find("cw")) for view in (exactly, coarsely))
    assert other.logits.dtype == other.gradient.dtype == other.loss.dtype == torch.float32
    scale = one.logits.abs().max()
    assert 0 < (one.logits - other.logits).abs().max() < 0.05 * scale
    cosine = torch.nn.functional.cosine_similarity(one.gradient.flatten(1), other.gradient.flatten(1))
    assert cosine.min() > 0.95
    assert torch.equal(exactly.scores(case.x), coarsely.scores(case.x))  # what decides is never coarse


def test_an_attack_in_bf16_is_as_strong_where_float32_verifies(linear):
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


def test_what_is_wrong_in_bf16_only_is_not_broken():
    """At a border that bf16 rounds away: the coarse answer is wrong, the defense's own is right."""
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


def test_the_view_that_attack_authors_import_is_the_one_that_attacks_get(small):
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
