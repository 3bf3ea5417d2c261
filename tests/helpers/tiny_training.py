"""A training of a model of 50 weights, and the same training with a simulated kill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from purebench.data.datasets import ImageSet
from purebench.defenses.training.loop import Recipe, train

CPU = torch.device("cpu")


class Tiny(nn.Module):
    """A classifier with a batch norm, whose running statistics and counter are part of the state."""

    def __init__(self, *, width: int = 3):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.layers = nn.Sequential(nn.Conv2d(1, width, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.LazyLinear(2))
        self(torch.zeros(2, 1, 8, 8))

    def forward(self, x):
        return self.layers(self.norm(x))


def images(*, split: str, folder: str | None) -> ImageSet:
    """Return images of two classes that differ in brightness."""
    generator = np.random.default_rng({"train": 0, "test": 1}[split])
    labels = generator.integers(0, 2, 48)
    pixels = generator.integers(0, 128, (48, 1, 8, 8)) + 100 * labels[:, None, None, None]
    return ImageSet("two greys", pixels.astype(np.uint8), labels, ("dark", "bright"), folder or "made")


def loss(model, x, labels, share):
    noise = 0.05 * torch.randn_like(x)  # as in a VAE, the loss draws random numbers
    return {"loss": nn.functional.cross_entropy(model(x + noise), labels), "share": torch.tensor(share)}


def quality(model, test, device):
    right = model(torch.as_tensor(test.floats())).argmax(1) == torch.as_tensor(test.labels)
    return {"clean accuracy, 48 test images": float(right.float().mean())}


RECIPE = Recipe(
    name="tiny",
    kind="tiny",
    build=Tiny,
    architecture={"width": 3},
    loss=loss,
    quality=quality,
    about="A model for tests.",
    source="made here",
    data=images,
    batch=16,
    rate=0.05,
    held_out=8,
    save_every=0.0,
)


def run(out, recipe=RECIPE, *, steps=12, minutes=1.0, seed=0):
    return train(recipe, out=out, device=CPU, minutes=minutes, seed=seed, folder=None, steps=steps)


def state_of(out):
    return torch.load(out / "tiny.state.pt", weights_only=True)


class Killed(Exception):
    """Simulates the signal that ends a training run."""


def killed_at(step: int, recipe=RECIPE):
    """Return the recipe with a loss that raises `Killed` at this step."""
    calls = []

    def interrupted(model, x, labels, share):
        calls.append(share)
        if len(calls) == step:
            raise Killed
        return loss(model, x, labels, share)

    return replace(recipe, loss=interrupted)
