"""Tests of gradient passes in bf16 and TF32."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from purebench.attacks.best import Best
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.views.gradient_modes import exact
from purebench.core.compute.devices import tf32
from purebench.core.defense import as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel


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
    assert torch.equal(exactly.scores(case.x), coarsely.scores(case.x))  # scores are float32 unless they may be coarse
    rough = coarsely.scores(case.x, coarse=True)
    assert rough.dtype == torch.float32
    assert torch.equal(rough, other.logits)
    assert torch.equal(exactly.scores(case.x, coarse=True), one.logits)


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


@pytest.mark.parametrize("random", [True, False])
def test_fresh_draws_of_random_defenses_are_in_bf16_and_answers_of_deterministic_ones_are_not(random):
    """On a deterministic defense an image is broken if it is misclassified in float32."""
    coarse = []

    def classifier(x):
        coarse.append(torch.is_autocast_enabled("cpu"))
        noise = torch.randn(len(x), 1) if random else 0
        brightness = x.flatten(1).mean(1, keepdim=True)
        return torch.cat([brightness + noise, 0.5 * torch.ones_like(brightness)], 1)

    view = exact(as_defense(classifier, random=random))
    view.precision = "bf16"
    x, y, index = torch.full((1, 1, 2, 2), 0.4), torch.tensor([0]), torch.tensor([0])
    best = Best(view, x, y)
    best.see(index, x, torch.zeros(1), torch.tensor([[[0.0, 1.0]]]))
    best.settle(index, x, torch.zeros(1))
    assert coarse
    assert all(each is random for each in coarse)


class Flagged(torch.autograd.Function):
    """The identity, which notes whether forward and backward passes have TF32; its flag has no effect on a CPU."""

    seen: ClassVar[list[tuple[str, bool]]] = []

    @classmethod
    def note(cls, name):
        cls.seen.append((name, torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32))

    @staticmethod
    def forward(context, x):
        Flagged.note("forward")
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        Flagged.note("backward")
        return gradient


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_the_precision_of_a_view_decides_about_tf32_in_both_passes_of_a_look(precision, outside):
    """A view in float32, such as that of known-randomness, has full float32 on a board whose attacks use TF32."""
    view = exact(as_defense(lambda x: Flagged.apply(x).flatten(1)))
    view.precision, x = precision, torch.rand(2, 1, 1, 3)
    Flagged.seen.clear()
    with tf32(outside):
        view.look(x, torch.tensor([0, 1]), losses.find("ce"))
        view.scores(x)
        view.scores(x, coarse=True)
        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == outside
    on = precision == "tf32"
    assert Flagged.seen == [("forward", on), ("backward", on), ("forward", False), ("forward", on)]
