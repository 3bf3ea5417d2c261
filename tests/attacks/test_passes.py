"""Tests that the counters of every attack are the images that passed the purifier, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from purebench.attacks.entry import WHITE, native
from purebench.attacks.views.gradient_modes import exact, no_gradient
from purebench.core import registry
from purebench.core.answers import Answer, Inapplicable
from purebench.core.defense import Defense, LatentPurifier, Mix, as_defense
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

SHORT = {
    "square": "square(queries=12)",
    "known-randomness": "known-randomness(seeds=2, steps=3, then=3)",
    "apgd-t": "apgd-t(targets=2, steps=4)",
    "fgsm": "fgsm",
    "clean": "clean",
    "random-noise": "random-noise",
    "sequence": "sequence(parts=[{'use': 'apgd(steps=4)', 'gradient': 'exact'}, {'use': 'square(queries=6)'}])",
}
LIBRARIES = ("foolbox:LinfPGD(steps=4)", "art:ProjectedGradientDescent(max_iter=4)", "autoattack:apgd-ce")
NO_PASSES = {"certify", "known-truth", "transfer"}
"""Need a certifier or a control; makes no passes of its own."""
NATIVE = [SHORT.get(name, f"{name}(steps=4)") for name in sorted(native()) if name not in NO_PASSES]


class Counted(torch.autograd.Function):
    """The identity, which adds the number of images to `rows` in each direction."""

    @staticmethod
    def forward(ctx, x: Tensor, rows: dict[str, int]) -> Tensor:
        ctx.rows = rows
        rows["forward"] += len(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.rows["backward"] += len(gradient)
        return gradient, None


class Counting(LatentPurifier):
    """A purifier with one latent, the image itself; it counts the images that pass."""

    def __init__(self, random: bool):
        super().__init__()
        self.random, self.rows = random, {"forward": 0, "backward": 0}

    @property
    def kept(self) -> list[float]:
        return [0.9]

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        return mix(0, Counted.apply(x, self.rows), torch.rand_like(x) if self.random else torch.zeros_like(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.autoencode(x, lambda _, encoded, sampled: 0.9 * encoded + 0.1 * sampled)


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("text", [*NATIVE, *LIBRARIES])
def test_the_counters_are_the_images_that_pass_the_purifier(small, text: str, random: bool) -> None:
    case, purifier = small(images=6), Counting(random)
    defense = as_defense(Defense(case.net, purifier))
    attack = registry.create("attacks", Spec.parse(text), found=None)
    gradients = attack.knowledge is WHITE
    entry = native().get(Spec.parse(text).name)
    threat = ThreatModel("linf", 0.1) if entry is None or "linf" in entry.norms else ThreatModel(entry.norms[0], 0.5)
    view = (exact if gradients else no_gradient)(defense, eot=2)
    with seeded("passes"):
        try:
            answer = attack(view, case.x, case.y, threat)
        except Inapplicable:
            pytest.skip("the attack does not apply")
    extra = answer.passes if isinstance(answer, Answer) else 0
    assert purifier.rows["forward"] == view.forwards + extra
    assert purifier.rows["backward"] == view.backwards
