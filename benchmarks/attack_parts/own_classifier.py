"""A small classifier whose weights are in no board, so that transfer from a board's rows does not break it at once.

Trained on the first 12,000 training images of Fashion-MNIST, in about a minute:

    python benchmarks/attack_parts/own_classifier.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("own_classifier.npz")


EPS = (0.0, 3 / 255)
"""Radius of the FGSM images that each classifier is trained on; 0 for clean images."""


class OwnClassifier(nn.Module):
    """Four convolutions and a linear layer; images [N,1,32,32] in [0,1] → logits [N,10]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 12, 24, 48, 48)
        layers: list[nn.Module] = []
        for one, other in pairwise(widths):
            layers += [nn.Conv2d(one, other, 3, stride=2, padding=1), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(48 * 4, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        return self.layers(2 * x - 1)


def own_classifier(number: int = 0) -> OwnClassifier:
    """Return the trained classifier; number 1 was trained on FGSM images."""
    made = OwnClassifier()
    with np.load(WEIGHTS) as stored:
        state = {name: torch.as_tensor(stored[f"{number}.{name}"]).float() for name in made.state_dict()}
    made.load_state_dict(state)
    return made.eval().requires_grad_(False)


def train(eps: float, epochs: int = 3) -> OwnClassifier:
    """Train a classifier; with eps above 0, on FGSM images within it."""
    from purebench.data.datasets import fashion_mnist

    torch.manual_seed(0)
    data = fashion_mnist(split="train").take(range(12_000))
    x, y = torch.as_tensor(data.floats()), torch.as_tensor(data.labels)
    model = OwnClassifier()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, epochs * len(x) // 128 + 3 * epochs)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(128):
            seen = x[part]
            if eps:
                start = (seen + (2 * torch.rand_like(seen) - 1) * eps).requires_grad_()
                (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(start), y[part]), start)
                seen = (seen + (start.detach() + gradient.sign() * eps - seen).clamp(-eps, eps)).clamp(0, 1)
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(seen), y[part]).backward()
            optimiser.step()
            schedule.step()
    return model.eval()


if __name__ == "__main__":
    kept = {
        f"{number}.{name}": value.half().numpy()
        for number, eps in enumerate(EPS)
        for name, value in train(eps).state_dict().items()
    }
    np.savez_compressed(WEIGHTS, **kept)
