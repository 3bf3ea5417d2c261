"""Fixtures: a synthetic board in the form of a real evaluation, and builders of smaller boards."""

from types import SimpleNamespace

import numpy as np
import pytest

from purebench.records.outcome import Outcome
from purebench.records.record import Picture

import synthetic  # isort: skip
from synthetic import Demo, judged, make_board, make_png, make_record, merge  # isort: skip

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
    records = judged(board, records)
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
    """The builders of synthetic boards: `build.board`, `build.record`, `build.results`, `build.cascaded`."""
    return SimpleNamespace(
        board=make_board, record=make_record, results=synthetic.make_results, cascaded=synthetic.cascaded
    )


@pytest.fixture(scope="session")
def nearby():
    """A board with minimum-norm attacks, success claims of attacks, reused images and bf16 attacks."""
    return synthetic.make_nearest(cascade=False)


@pytest.fixture(scope="session")
def cascade():
    """The same board with the same attacks as a cascade."""
    return synthetic.make_nearest(cascade=True)
