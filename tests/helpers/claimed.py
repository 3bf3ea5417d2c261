"""Valid and faulty defenses, and a small board for robustness assertions about them."""

from __future__ import annotations

from pathlib import Path

import yaml

DEFENSES = '''
import torch
from torch.nn import functional
from purebench.core.defense import Defense, Function

class Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x
    @staticmethod
    def backward(ctx, gradient):
        return torch.randn_like(gradient)

def masked():
    """The images as they are, with gradients of something else."""
    return Function(Hidden.apply, random=False)

def smooth():
    """Noise, then a mean over neighbours: honest, and random."""
    def clean(x):
        noisy = x + 0.1 * torch.randn_like(x)
        return functional.avg_pool2d(noisy, 3, stride=1, padding=1, count_include_pad=False).clamp(0, 1)
    return Function(clean, random=True)

def reseeded():
    """Calls itself random, and draws the same noise each time."""
    def clean(x):
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        return (x + 0.1 * noise).clamp(0, 1)
    return Function(clean, random=True)

class Decoy(torch.nn.Module):
    """A further class just below the first, whose logit ripples: gradients are right and lead nowhere."""
    def __init__(self, classifier):
        super().__init__()
        self.classifier = classifier
    def forward(self, x):
        logits = self.classifier(x)
        ripple = logits.amax(1) - 1 + 0.95 * torch.sin(5 * x.flatten(1).sum(1))
        return torch.cat([logits, ripple[:, None]], 1)

def decoy(classifier):
    return Defense(Decoy(classifier))

def crash(classifier):
    """Raises."""
    def answer(x):
        raise RuntimeError("no answer today")
    return Defense(answer)
'''


def write_claimed(folder: Path, *, images: int = 32, radius: str = "4/255") -> Path:
    """Writes a board.yaml with two attacks, and `own.py` with the defenses next to it."""
    (folder / "own.py").write_text(DEFENSES, encoding="utf-8")
    board = {
        "name": "claimed",
        "dataset": {"use": "fashion-mnist", "images": images, "block": 8},
        "classifier": "fashion-resnet",
        "threat": {"norm": "linf", "radius": radius},
        "verify": {"draws": 4},
        "attacks": {
            "clean": {"use": "clean"},
            "apgd-exact": {"use": "apgd(steps=5)", "gradient": "exact", "eot": 2},
        },
        "defenses": {"none": "none", "trades": "trades"},
    }
    (folder / "board.yaml").write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    return folder / "board.yaml"
