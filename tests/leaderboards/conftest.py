"""Synthetic boards: small ones to compute by hand, and one that looks like a real evaluation."""

import base64
import io
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from purebench.board import AttackChoice, Board, DatasetChoice, DefenseChoice
from purebench.leaderboards.merge import merge
from purebench.records import Outcome, Picture, Record
from purebench.registry import Spec
from purebench.threat import ThreatModel

CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
SECONDS = {"attack": 12.5, "verify": 2.0}


def make_board(attacks=("clean", "apgd"), defenses=("plain", "noisy"), images=4, block=2, draws=4, **more):
    """A board of these names; `more` sets its other fields."""
    kinds = {"clean": ("none", 1), "square": ("none", 8)}
    fields = {
        "name": "small",
        "title": "A small board",
        "about": "",
        "dataset": DatasetChoice(Spec("fashion-mnist"), images, block),
        "classifier": Spec("fashion-resnet"),
        "threat": ThreatModel("linf", 16 / 255),
        "radius_text": "16/255",
        "attacks": tuple(AttackChoice(name, Spec(name), *kinds.get(name, ("exact", 8))) for name in attacks),
        "defenses": tuple(DefenseChoice(name, Spec(name, {"alpha": 0.5})) for name in defenses),
        "draws": draws,
    }
    return Board(**fields | more)


def make_record(board, defense, attack, block, answers, *, random=None, seconds=None, **more):
    """A record from its answers, one an image: draws such as "1011", or an Outcome where there is none."""
    start = block * board.dataset.block
    images = list(range(100 + start, 100 + start + len(answers)))
    asked = [not isinstance(answer, Outcome) for answer in answers]
    outcomes = [
        (Outcome.HELD if 2 * answer.count("1") > len(answer) else Outcome.BROKEN) if one else answer
        for one, answer in zip(asked, answers, strict=True)
    ]
    if random is None:
        random = any(one and len(answer) > 1 for one, answer in zip(asked, answers, strict=True))
    return Record(
        key=f"{board.name}/{defense}/{attack}/{block}",
        board=board.name,
        defense=defense,
        attack=attack,
        block=block,
        images=images,
        labels=[image % len(CLASSES) for image in images],
        outcomes=outcomes,
        draws=[answer if one else "" for one, answer in zip(asked, answers, strict=True)],
        distances=[(0.0 if attack == "clean" else board.threat.radius) if one else None for one in asked],
        forwards=10 * sum(asked),
        backwards=0 if attack == "clean" else 5 * sum(asked),
        seconds=dict(SECONDS if seconds is None else seconds),
        provenance={
            "defense": {"random": random, "parameters": 1234567, "weights": "ab" * 32, "spec": defense},
            "data": "cd" * 32,
            "versions": {"purebench": "0.1.0", "torch": "2.6.0", "python": "3.11.2"},
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "device": "cpu",
        },
        **more,
    )


def make_png(rng, noise=0.0):
    """A 32×32 grey PNG in base64: a smooth blob, with noise if asked for."""
    grid = np.linspace(-1, 1, 32)
    blob = np.exp(-4 * ((grid[:, None] - 0.1) ** 2 + (grid[None] + 0.1) ** 2))
    blob += noise * rng.uniform(-1, 1, (32, 32))
    buffer = io.BytesIO()
    Image.fromarray((255 * blob.clip(0, 1)).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass
class Demo:
    """A board of a real one's size and shape, its records, results and originals."""

    board: Board
    records: list
    results: list
    originals: dict
    classes: tuple = CLASSES


# name: (random, clean, accuracy under each attack; None is SKIPPED, text the reason of an error)
DEMO = {
    "none": (False, 0.93, 0.00, None, 0.01, 0.12, 0.00),
    "adversarial-training": (False, 0.85, 0.62, None, 0.60, 0.69, 0.61),
    "jpeg-75": (False, 0.90, 0.03, None, 0.06, 0.31, 0.02),
    "hvae-mix-cosine": (True, 0.84, 0.52, 0.49, 0.66, 0.70, None),
    "hvae-mix-linear": (True, 0.86, 0.47, 0.45, 0.61, 0.68, None),
    "diffpure-t0.15": (True, 0.88, 0.58, 0.57, 0.72, 0.74, "OutOfMemoryError: no room for 20 draws"),
    "vae-resample": (True, 0.71, 0.33, 0.34, 0.55, 0.61, None),
    "broken-checkpoint": (
        True,
        *["RuntimeError: size mismatch for decoder.0.weight: [64, 3] and [32, 3]"] * 6,
    ),
}
DEMO_ATTACKS = ("clean", "apgd-exact", "apgd-eot20", "apgd-bpda", "square", "foolbox-deepfool")


@pytest.fixture(scope="session")
def demo():
    board = make_board(
        DEMO_ATTACKS,
        (*DEMO, "styletransformer"),
        images=256,
        block=64,
        name="fashion-linf",
        title="Purified Fashion-MNIST, ℓ∞",
        about="Eight ways to clean an image before a small ResNet sees it, against attackers who know the "
        "whole defense. The classifier is the same in every row; only what stands before it differs.",
        draws=16,
    )
    rng = np.random.default_rng(0)
    records = []
    for defense, (random, *accuracies) in DEMO.items():
        ease = rng.uniform(0, 1, 256)
        for block in range(3 if defense == "vae-resample" else 4):
            for attack, accuracy in zip(DEMO_ATTACKS, accuracies, strict=True):
                records.append(_demo_record(rng, board, defense, random, attack, block, accuracy, ease))
    originals = {100 + i: make_png(rng) for i in range(8)}
    return Demo(board, records, merge(board, records), originals)


def _demo_record(rng, board, defense, random, attack, block, accuracy, ease):
    if accuracy is None:
        gone = "for random defenses only" if attack == "apgd-eot20" else "needs a deterministic defense"
        none = [Outcome.SKIPPED] * 64
        return make_record(board, defense, attack, block, none, random=random, reason=gone, seconds={})
    if isinstance(accuracy, str):
        if defense == "broken-checkpoint" or block == 0:
            none = [Outcome.ERRORED] * 64
            return make_record(board, defense, attack, block, none, random=random, reason=accuracy, seconds={})
        accuracy = 0.6
    part = ease[64 * block : 64 * block + 64]
    sure = np.clip((accuracy - part) * (4 if random else 1e9) + 0.5, 0, 1)
    answers = ["".join("01"[int(draw)] for draw in rng.random(16 if random else 1) < q) for q in sure]
    pictures = [Picture(100 + i, i, make_png(rng, 0.3), make_png(rng, 0.05), int(rng.integers(10))) for i in range(4)]
    notes = ["rounding corrected: up to 3e-8 outside the threat model"] if attack == "square" else []
    seconds = {"attack": float(rng.uniform(5, 60)), "verify": float(rng.uniform(0.5, 3))}
    return make_record(
        board,
        defense,
        attack,
        block,
        answers,
        random=random,
        notes=notes,
        seconds=seconds,
        pictures=pictures if block == 0 else [],
    )


@pytest.fixture(scope="session")
def build():
    """The builders of synthetic boards: `build.board`, `build.record`, `build.results`."""
    return SimpleNamespace(board=make_board, record=make_record, results=make_results)


def make_results(answers, draws=4, block=2, **more):
    """A board, records and results from {defense: {attack: answers}}; one draw each is deterministic."""
    attacks = list(dict.fromkeys(attack for of in answers.values() for attack in of))
    images = max(len(given) for of in answers.values() for given in of.values())
    board = make_board(attacks, tuple(answers), images, block, draws, **more)
    records = []
    for defense, of in answers.items():
        drawn = [given for row in of.values() for given in row if not isinstance(given, Outcome)]
        random = any(len(given) > 1 for given in drawn)
        records += [
            make_record(board, defense, attack, start // block, given[start : start + block], random=random)
            for attack, given in of.items()
            for start in range(0, len(given), block)
        ]
    return board, records, merge(board, records)
