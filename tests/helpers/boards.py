"""A small board on the bundled images, and files of valid and faulty defenses and attacks for it."""

from __future__ import annotations

from pathlib import Path

import yaml

DEFENSES = '''
import torch
from purebench.core.defense import Defense, Function

def honest():
    """Adds a little noise."""
    return Function(lambda x: x + 0.01 * torch.randn_like(x), random=True)

def nan(classifier):
    """Answers NaN."""
    return Defense(lambda x: classifier(x) * float("nan"))

def shape(classifier):
    """Answers one row too few."""
    return Defense(lambda x: classifier(x)[1:])

def crash(classifier):
    """Raises."""
    def answer(x):
        raise RuntimeError("no answer today")
    return Defense(answer)

def coin():
    """Right or wrong by the toss of a coin: replaces half of the images by noise."""
    return Function(lambda x: torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x, torch.rand_like(x)), random=True)
'''

ATTACKS = """
import torch
from purebench.core.threat import Knowledge

class Fixed:
    knowledge = Knowledge.NONE
    def __init__(self, change):
        self.change = change
    def __call__(self, view, x, y, threat):
        return self.change(x, threat)

def too_far():
    return Fixed(lambda x, threat: (x + 2 * threat.radius).clamp(0, 1))

def rounding():
    return Fixed(lambda x, threat: x + (1 + 1e-4) * threat.radius * torch.where(x > 0.5, -1.0, 1.0))

def outside():
    return Fixed(lambda x, threat: x - threat.radius)

def nan():
    return Fixed(lambda x, threat: x * float("nan"))

def shape():
    return Fixed(lambda x, threat: x[..., 1:])

def random():
    return Fixed(lambda x, threat: threat.project(x + threat.radius * torch.randn_like(x), x))
"""


def write_board(folder: Path, *, images: int = 12, block: int = 4, **parts: object) -> Path:
    """Writes a board.yaml with defenses.py and attacks.py next to it; `parts` replace top-level keys of the board."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "defenses.py").write_text(DEFENSES, encoding="utf-8")
    (folder / "attacks.py").write_text(ATTACKS, encoding="utf-8")
    board = {
        "name": "small",
        "dataset": {"use": "fashion-mnist", "images": images, "block": block},
        "classifier": "fashion-resnet",
        "threat": {"norm": "linf", "radius": "8/255"},
        "verify": {"draws": 6},
        "attacks": {
            "clean": {"use": "clean"},
            "apgd": {"use": "apgd(steps=4)", "gradient": "exact", "eot": 2},
            "square": {"use": "square(queries=5)"},
        },
        "defenses": {"none": "none", "noise": f"{folder}/defenses.py:honest", "coin": f"{folder}/defenses.py:coin"},
    } | parts
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    return path
