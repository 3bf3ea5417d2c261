"""A toy board whose robust accuracy is known exactly: a linear classifier, and images at known shares of the radius."""

from __future__ import annotations

from pathlib import Path

import yaml

TOY = '''
import torch
from torch import nn
from purebench.core.defense import Defense

SIDE, RADIUS = 8, 0.05

def images():
    """Images whose margin is c times what the radius can take away, c from 0.5 to 1.5: half of them are robust."""
    count = 80
    c = torch.linspace(0.5, 1.5, count + 1)[:-1] + 0.25 / count
    c = c[torch.randperm(count, generator=torch.Generator().manual_seed(0))]
    y = torch.arange(count) % 2
    x = 0.5 + RADIUS * c[:, None, None, None] * (1 - 2.0 * y)[:, None, None, None] * signs()
    return x, y

def signs():
    """The signs of the weights, [1,1,SIDE,SIDE]."""
    return (torch.arange(SIDE * SIDE) % 2 * 2.0 - 1).reshape(1, 1, SIDE, SIDE)

class Linear(nn.Module):
    """Class 0 where the weights, all of size 1, give a positive sum."""
    def forward(self, x):
        score = ((x - 0.5) * signs().to(x)).flatten(1).sum(1)
        return torch.stack([score, -score], 1)

def linear():
    return Linear()

def shattered(classifier):
    """The same classifier on rounded images, whose gradient is zero everywhere; the rounding changes no answer."""
    return Defense(lambda x: classifier((4096 * x).round() / 4096))
'''


def write_toy(folder: Path, **parts: object) -> Path:
    """Writes a board.yaml with its toy.py; `parts` replace top-level keys of the board."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.py").write_text(TOY, encoding="utf-8")
    board = {
        "name": "toy",
        "dataset": {"use": "toy.py:images", "images": 80, "block": 40},
        "classifier": "toy.py:linear",
        "threat": {"norm": "linf", "radius": 0.05},
        "attacks": {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=2)", "gradient": "exact"}},
        "defenses": {"linear": "none", "shattered": "toy.py:shattered"},
    } | parts
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    return path
