"""Tests that the exact gradient of every registered purifier agrees with central differences under the same noise.

A purifier that is added to the registry is tested with its defaults; add an entry to SETTINGS for other parameters.
"""

from __future__ import annotations

import inspect

import pytest
import torch

from purebench.core.defense import Purifier, as_defense
from purebench.core.registry import Spec, create, factory, installed
from purebench.core.seeds import seeded
from purebench.data.datasets import fashion_mnist
from purebench.defenses.mlvgm.schedules import SCHEDULES

SETTINGS = {
    "mlvgm-hvae": [
        *({"schedule": schedule} for schedule in SCHEDULES),
        {"noise": 2.0},
        {"blur": 1.0, "noise": 2.0},
        {"attenuation": 0.0},
    ],
    "vae": [{}, {"sampled": True}],
    "a-vae": [{"samples": 4}],
    "nd-vae-released": [{"seed": 1}],
    "gdmp": [{}, {"scale": 0.0}],
    "diffpure-sde": [{"steps": 5}],
    "likelihood-maximisation": [{"steps": 2}],
    "puvae": [{}, {"sampled": True}],
    "defense-gan": [
        {"steps": 2},
        {"steps": 2, "start": "encoder"},
        {"steps": 2, "space": "z", "restarts": 2, "rate": 30.0},
    ],
    "ebm-langevin": [{"steps": 5}, {"steps": 3, "temperature": 0.0}],
    "diffpure": [{"sampler": "ddpm"}, {"sampler": "ddim", "t": 200}],
    "resized": [{"purifier": "gaussian-noise(sigma=0.1)", "size": 24}],
}
ELSEWHERE = {
    "none": "the classifier alone",
    "robustbench": "a classifier, from files that are not here",
    "trades": "a classifier; see CLASSIFIED",
    "pgd-at": "a classifier; see CLASSIFIED",
    "cifar10-fast-at": "a classifier; see CLASSIFIED",
    "mlvgm": "of the paper, from files that are not here",
    "trades-released": "a classifier, from files that are not here",
    "art": "any class of another library",
    "vote": "a defense of several answers",
    "smoothing": "a defense of several answers",
    "before": "a purifier before another classifier; see CLASSIFIED",
    **dict.fromkeys(("verified", "lipschitz", "linear-noise", "coin", "conflict"), "a classifier; see CLASSIFIED"),
    "certified-noise": "noise before a classifier; see CLASSIFIED",
    "masked": "a planted fault, whose gradient is wrong on purpose; see test_masked",
    "median": "kinks wherever neighbours are equal, as on a black border; see test_smoothers",
    "jpeg": "a file in between: no gradient at all, see test_jpeg for its surrogate's",
}
CLASSIFIED = (
    "trades",
    "pgd-at",
    "cifar10-fast-at",
    "verified",
    "lipschitz",
    "linear-noise",
    "coin",
    "conflict",
    "certified-noise",
    "before(purifier=vae, classifier=fashion-trades)",
    "before(purifier='diffpure(steps=2)', classifier=fashion-pgd-at)",
    "vote(defense='gaussian-noise(sigma=0.01)', draws=3, how=probabilities)",
)
"""Defenses that are or contain a classifier; the gradients of their logits are compared."""
FLAT = {"quantise": "rounding has no slope anywhere"}
"""Purifiers whose true gradient is zero almost everywhere, with the reason."""
KINKED = {"defense-gan": "the generator's leaky ReLUs: each step of the search jumps where one of them changes sign"}
"""Purifiers that are only piecewise smooth, with the reason; tested in float64 with the step SHORT within a piece."""
SHORT = 1e-7
BARS = {torch.float32: (1e-2, 1e-2), torch.float64: (1e-5, 1e-5)}
"""Largest relative error and l2 length of the step; short steps amplify rounding errors, long ones cross kinks."""


def cases():
    """Return the specs of all purifiers of this package, with and without checkpointing where available."""
    found = []
    for name, point in installed("defenses").items():
        if name in ELSEWHERE or not point.value.startswith("purebench."):
            continue
        if "/" in name:  # needs files; see diffusion/test_released.py and ebm/test_hill.py
            continue
        make, _ = factory("defenses", name)
        choices = [{}]
        if "checkpointed" in inspect.signature(make).parameters:
            choices = [{"checkpointed": True}, {"checkpointed": False}]
        found += [Spec(name, {**options, **choice}) for options in SETTINGS.get(name, [{}]) for choice in choices]
    return found


def images():
    """Return two images with values inside (0,1), because clamping is not differentiable at 0."""
    return 0.2 + 0.6 * torch.as_tensor(fashion_mnist().take([1, 4]).floats())


def slopes(purify, x, step):
    """Return derivatives of a weighted sum of the purified images, exact and by central differences, [4] each.

    Each direction is the sum of the normalised gradient, so that the derivative is large, and a random unit vector.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad(), seeded("slopes"):
        weights = torch.randn(purify(x).shape, generator=generator).to(x)

    def value(at):
        with seeded("slopes"):
            return (weights * purify(at)).double().sum()

    asked = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(asked), asked)
    exact, measured = [], []
    for _ in range(4):
        chance = torch.randn(x.shape, generator=generator).to(x)
        direction = gradient / gradient.norm() + chance / chance.norm()
        direction /= direction.norm()
        with torch.no_grad():
            rise = value(x + step * direction) - value(x - step * direction)
        exact.append((gradient * direction).double().sum())
        measured.append(rise / (2 * step))
    return torch.stack(exact), torch.stack(measured)


@pytest.mark.parametrize("dtype", BARS, ids=str)
@pytest.mark.parametrize("spec", cases(), ids=str)
def test_purifier_gradient_matches_central_differences(spec, dtype):
    if spec.name in KINKED and dtype == torch.float32:
        pytest.skip(KINKED[spec.name])
    made = create("defenses", spec)
    assert isinstance(made, Purifier), f"{spec.name} is no purifier: say so in ELSEWHERE, or how to test it"
    bar, step = BARS[dtype]
    step = SHORT if spec.name in KINKED else step
    purifier = made.eval().requires_grad_(False).to(dtype)
    x = images().to(dtype)
    if spec.name in FLAT:
        leaf = x.clone().requires_grad_()
        assert torch.autograd.grad(purifier(leaf).sum(), leaf)[0].abs().max() == 0
        return
    exact, measured = slopes(purifier, x, step)
    errors = (exact - measured).abs() / exact.abs()
    assert exact.abs().min() > 1e-3, f"{spec}: hardly any slope to compare; is its gradient masked?"
    assert errors.max() <= bar, f"{spec}: relative errors {errors.tolist()}"


@pytest.mark.parametrize("text", CLASSIFIED)
def test_logit_gradient_matches_central_differences(text):
    classifier = create("classifiers", Spec("fashion-resnet"))
    defense = as_defense(create("defenses", Spec.parse(text), classifier=classifier), classifier).double()
    x = images().double()
    exact, measured = slopes(defense, x.repeat(1, 3, 1, 1) if text.startswith("cifar10-") else x, 1e-6)
    assert exact.abs().min() > 1e-3
    assert ((exact - measured).abs() / exact.abs()).max() <= 1e-5


def test_wrong_gradients_are_detected():
    """The identity as backward pass, a detached factor and noise that is not replayed have large errors."""

    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return torch.sin(3 * x)

        @staticmethod
        def backward(context, given):
            return given

    def detached(x):
        return x * x.mean((1, 2, 3), keepdim=True).detach() + x.flip(3)

    def unreplayed(x):
        return x * torch.randn(x.shape, generator=moving)

    moving = torch.Generator().manual_seed(3)
    step, x = 1e-5, images().double()
    for purify in (Straight.apply, lambda x: 2 * detached(x) * x.detach(), unreplayed):
        exact, measured = slopes(purify, x, step)
        assert ((exact - measured).abs() / exact.abs()).max() > 0.1
