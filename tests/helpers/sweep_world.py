"""A linear world with a trade-off whose clean and robust accuracies are known in closed form.

Half of the pixels (A) have a large margin, but the wrong sign on a fifth of the images; the others (B) are always
right, with a small margin that a perturbation reverses. A purifier of strength t scales B by 1 - t.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.checks.sweeps.definition import Sweep, families_of
from purebench.checks.sweeps.outcome import SweepOutcome
from purebench.checks.sweeps.run import SweepRun, run_sweep
from purebench.execution.backends.compute import Compute

OWN = '''
import numpy as np
import torch
from purebench.core.defense import Function
from purebench.core.errors import Missing
from purebench.core.files.published import find_published
from purebench.core.threat import Knowledge
from purebench.data.image_set import ImageSet

WEIGHT = 20.0

def margins(split):
    """Returns the sign of A and the margin of B of each image."""
    place = np.arange(60)
    a = np.where(place % 5 == 0, -1.0, 1.0)
    b = np.random.default_rng(1).permutation(np.linspace(0.55, 1.45, 60)) + {"test": 0.003, "dev": 0.0}[split]
    return a, b

def images(split="test"):
    a, b = margins(split)
    labels = np.arange(60) // 5 % 2
    y = 2.0 * labels - 1
    pixels = np.full((60, 1, 4, 4), 0.5)
    pixels[:, :, :2] += (0.2 * y * a)[:, None, None, None]
    pixels[:, :, 2:] += (0.02 * y * b)[:, None, None, None]
    ids = tuple(f"{split}-{place}" for place in range(60))
    return ImageSet("small", pixels.astype(np.float32), labels, ("low", "high"), "made", ids, split)

class Linear(torch.nn.Module):
    def forward(self, x):
        value = (x[:, :, :2] - 0.5).flatten(1).sum(1) + WEIGHT * (x[:, :, 2:] - 0.5).flatten(1).sum(1)
        return torch.stack([-value, value], 1)

def linear():
    return Linear()

def scaled(t=0.5):
    """Scales B by 1 - t."""
    scale = torch.ones(1, 1, 4, 4)
    scale[:, :, 2:] = 1 - t
    return Function(lambda x: 0.5 + scale.to(x) * (x - 0.5), random=False)

def noisy(sigma=0.1):
    return Function(lambda x: (x + sigma * torch.randn_like(x)).clamp(0, 1), random=True)

def rounded(levels=1e5):
    return Function(lambda x: (levels * x).round() / levels, random=False)

def failing(t=0.5):
    """Fails if t is 1 and images are adversarial."""
    def purify(x):
        if t == 1 and ((x[:, :, :2] - 0.5).abs() - 0.2).abs().max() > 1e-3:
            raise RuntimeError("no answer today")
        return scaled(t)(x)
    return Function(purify, random=False)

def needs(t=0.5):
    """Needs a file if t is 0.75, and fails as above if t is 1."""
    if t == 0.75:
        find_published(Missing("/no/such/file.pt", "https://example.org"))
    return failing(t)

class Clumsy:
    """The worst perturbation, but only below some radius; beyond it, none."""
    knowledge = Knowledge.NONE
    def __call__(self, view, x, y, threat):
        if threat.radius > 0.03:
            return x
        return x - threat.radius * (2.0 * y - 1).reshape(-1, 1, 1, 1)

def clumsy():
    return Clumsy()
'''
BOARD = {
    "name": "small",
    "dataset": {"use": "own.py:images", "images": 40, "block": 40},
    "classifier": "own.py:linear",
    "threat": {"norm": "linf", "radius": "0.05"},
    "attacks": {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=5)", "gradient": "exact"}},
    "defenses": {"none": "none", "half": "own.py:scaled(t=0.5)"},
}
TEXT = "own.py:scaled(t={0.0, 0.5, 0.75, 1.0})"
STRENGTHS = (0.0, 0.5, 0.75, 1.0)


def write_world(folder: Path, **parts: object) -> Path:
    """Writes the world into a folder; `parts` replace top-level keys of the board. Returns the board.yaml."""
    (folder / "own.py").write_text(OWN, encoding="utf-8")
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(BOARD | parts, sort_keys=False), encoding="utf-8")
    return path


def board_of(path: Path) -> Board:
    return choose(str(path), None, None)


def swept(path: Path, *texts: str, run: SweepRun | None = None, **fields: object) -> SweepOutcome:
    """Runs a sweep of the world, in this process."""
    sweep = Sweep(**{"board": str(path), "families": families_of(texts or [TEXT]), "images": 40} | fields)
    run = run or SweepRun(path=path.parent / "store", compute=Compute("cpu", 1, backend="serial"))
    return run_sweep(load_board(path), sweep, run, command="purebench sweep")


def right(outcome: SweepOutcome, t: float, radius: float) -> np.ndarray:
    """Returns whether strength t is right on each image at the worst perturbation: exact, because it is linear."""
    places = np.array(outcome.images)
    a = np.where(places % 5 == 0, -1.0, 1.0)
    b = np.random.default_rng(1).permutation(np.linspace(0.55, 1.45, 60))[places]
    margin = 8 * 0.2 * a + 20 * (1 - t) * 8 * 0.02 * b
    return margin > radius * (8 + 20 * (1 - t) * 8)
