"""Probes of the defense itself: it answers, its contract, its randomness, its clean accuracy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from purebench.checks.defense_checks import seeds
from purebench.checks.finding import CheckStatus
from purebench.checks.quick.state import Probe, QuickCheck, late
from purebench.core.answers import are_probabilities, check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.seeds import seeded
from purebench.execution.contract.checks import PROBABILITIES, WrongImages, check_contract
from purebench.execution.contract.pristine import copied
from purebench.execution.planning.cost_estimate import timed_pass
from purebench.statistics import clopper_pearson

ANSWERS, CONTRACT, DRAWS, CLEAN = "valid logits", "contract", "randomness", "clean accuracy"
WRONG_IMAGES = "wrong_images"
"""Name of the number that says that the purified images have another shape, type or range."""
OWN_IMAGES = " of the board itself, because its data set has too few dev images (docs/my-data.md)"
MOST_CLEAN = 100
"""Largest number of images of the clean accuracy."""
ENOUGH_CLEAN = 20
"""Number of images from which a clean accuracy no better than guessing is a fault."""
SHARE_CLEAN = 0.2
"""Share of the time left that the clean accuracy may take."""


def answers(quick: QuickCheck) -> Probe:
    """Pass one image, then measure the time of passes."""
    x, _ = quick.images(1)
    with torch.no_grad(), seeded("try", "answers", device=x.device):
        logits = check_logits(copied(quick.defense)(x.clone()), 1)
    called = replace(quick.context, defenses={quick.row.name: copied(quick.defense)})
    one = timed_pass(called, quick.row)
    quick.seconds = one.filled
    told = f"a query of one image takes {one.alone:.2g} s; in a batch, {one.filled:.2g} s per image"
    numbers = {"seconds_alone": one.alone, "seconds_in_a_batch": one.filled, "classes": logits.shape[1]}
    return Probe(ANSWERS, CheckStatus.HOLDS, told, numbers)


def contract(quick: QuickCheck) -> Probe:
    """Check shape, type and range of the purified images, and the logits."""
    x, _ = quick.images(2)
    try:
        check_contract(copied(quick.defense), x)
    except WrongImages as error:
        return Probe(CONTRACT, CheckStatus.FAILS, str(error), {WRONG_IMAGES: True})
    with torch.no_grad(), seeded("try", "contract", device=x.device):
        purified = copied(quick.defense).purify(x.clone())
        logits = check_logits(copied(quick.defense)(x.clone()), len(x))
    low, high, kind = float(purified.min()), float(purified.max()), str(purified.dtype).removeprefix("torch.")
    told = f"images {list(x.shape)} become {kind} {list(purified.shape)} with values from {low:.3g} to {high:.3g}"
    numbers = {"type": kind, "shape": list(purified.shape), "low": low, "high": high}
    if are_probabilities(logits):
        return Probe(CONTRACT, CheckStatus.FAILS, PROBABILITIES, numbers)
    return Probe(CONTRACT, CheckStatus.HOLDS, told, numbers)


def randomness(quick: QuickCheck) -> Probe:
    """Compare the declared randomness with the answers, and the draws within a call with those of other calls."""
    random = quick.defense.random
    if not quick.fits(passes := 200.0 if random else 30.0):
        return late(DRAWS, quick, passes)
    x, _ = quick.images(4)
    seen = seeds(copied(quick.defense), x, quick.batch())
    numbers: dict[str, Any] = {"declared_random": random}
    if seen.wrong == 0:
        return Probe(DRAWS, CheckStatus.FAILS, seen.sentence, numbers)
    if not random:
        return Probe(DRAWS, CheckStatus.HOLDS, f"declared deterministic: {seen.sentence}", numbers)
    shared = quick.context.facts(quick.row.name).shares_draws
    calls = "all images of a call share a random choice, so each draw needs a separate call, which is slower"
    told = calls if shared else "the draws of the images in a call are independent"
    return Probe(
        DRAWS,
        CheckStatus.HOLDS,
        f"declared random: {seen.sentence}; {told}",
        {**numbers, "draws_independent": not shared},
    )


def clean(quick: QuickCheck) -> Probe:
    """Estimate the accuracy without an attack, at one draw an image."""
    most = min(MOST_CLEAN, len(quick.context.images))
    count = min(most, int(SHARE_CLEAN * quick.left / quick.seconds))
    if count < 1:
        return late(CLEAN, quick, most)
    x, y = quick.images(count)
    defense = copied(quick.defense)
    answers = _classes(defense, x, quick.batch())
    quick.right = (answers == y).tolist()
    estimate = clopper_pearson(sum(quick.right), count, quick.context.board.confidence)
    told = f"{estimate.percent()} on {count} images{OWN_IMAGES if quick.own_images else ''}"
    classes = len(quick.context.images.classes)
    numbers: dict[str, Any] = {"accuracy": estimate.value, "low": estimate.low, "high": estimate.high, "n": count}
    if defense.purifier is not None and not defense.purifier.resizes:
        alone = float((_classes(Defense(defense.classifier), x, quick.batch()) == y).float().mean())
        numbers["classifier_alone"] = alone
        told += f"; the classifier alone has {100 * alone:.1f} %"
    if count < ENOUGH_CLEAN or estimate.low > 1 / classes:
        return Probe(CLEAN, CheckStatus.HOLDS, told, numbers)
    cure = (
        f"no better than guessing among {classes} classes; check the range of the images and the order of the classes"
    )
    return Probe(CLEAN, CheckStatus.FAILS, f"{told}: {cure}", numbers)


def _classes(defense: Defense, x: Tensor, batch: DeviceBatch) -> Tensor:
    with torch.no_grad(), seeded("try", "clean", device=x.device):
        (logits,) = batch.map(lambda part: (check_logits(defense(part.clone()), len(part)),), x)
    return logits.argmax(1)
