"""A small linear world with a masked defense, on which a whole search takes seconds."""

from __future__ import annotations

from pathlib import Path

import yaml

from purebench.attack_search.bench import SEARCHED
from purebench.attack_search.breaking import SearchBudget, break_defense
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.records import store

OWN = '''
import numpy as np
import torch
from purebench.core.defense import Defense
from purebench.data.image_set import ImageSet

SIDE = 6

def images(split="test", count=80, undivided=False):
    """Two classes, by the sign of the sum of the pixels less 0.5; dev and test differ."""
    rng = np.random.default_rng({"test": 0, "dev": 1}[split])
    labels = np.arange(count) % 2
    pixels = 0.5 + 0.05 * rng.standard_normal((count, 1, SIDE, SIDE)) + 0.1 * (2 * labels - 1)[:, None, None, None]
    stored = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    ids = tuple(f"{split}-{place}" for place in range(count))
    classes = ("low", "high")
    if undivided:
        return ImageSet("small", stored, labels, classes, "made")
    return ImageSet("small", stored, labels, classes, "made", ids, split)

class Linear(torch.nn.Module):
    def forward(self, x):
        value = (x - 0.5).flatten(1).sum(1)
        return torch.stack([-value, value], 1)

class Masked(torch.nn.Module):
    """The same answers with a gradient of zero; the answers come late if `delay` is set."""
    def __init__(self, delay):
        super().__init__()
        self.model, self.delay = Linear(), delay
    def forward(self, x):
        import time
        time.sleep(self.delay)
        return self.model(x).detach() + 0 * x.sum()

def linear():
    return Linear()

def masked(classifier, delay=0.0):
    return Defense(Masked(delay))
'''
BOARD = {
    "name": "small",
    "dataset": {"use": "own.py:images", "images": 24, "block": 12},
    "classifier": "own.py:linear",
    "threat": {"norm": "linf", "radius": "0.15"},
    "attacks": {"clean": {"use": "clean"}, "apgd": {"use": "apgd(steps=5)", "gradient": "exact"}},
    "defenses": {"masked": "own.py:masked"},
}
FEW = SearchBudget(minutes=5, images=24, evaluations=6)


def write_world(tmp_path: Path) -> Path:
    """Writes the world into a folder."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(BOARD, sort_keys=False), encoding="utf-8")
    return tmp_path


def searched(place: Path, budget: SearchBudget = FEW, name: str = "store", seed: int = 0, **options: object):
    board = choose(str(place / "board.yaml"), ["masked"], None)
    return break_defense(
        board, load_board(place / "board.yaml"), place / name, budget, seed=seed, how="random", **options
    )


def dev_records(path: Path) -> dict[str, tuple[object, ...]]:
    with store.reading(path) as saved:
        return {one.key: (one.attack, one.block, one.draws) for one in saved.of_board(f"small{SEARCHED}")}
