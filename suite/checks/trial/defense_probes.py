"""Probes of the defense itself: it answers, its contract, its randomness, its clean accuracy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from purebench.checks.defense_checks import seeds
from purebench.checks.finding import Result
from purebench.checks.trial.state import Probe, Trial, late
from purebench.core.answers import are_probabilities, check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.core.seeds import seeded
from purebench.execution.contract.checks import PROBABILITIES, check_contract
from purebench.execution.contract.pristine import copied
from purebench.execution.cost_estimate import timed_pass
from purebench.statistics import clopper_pearson

ANSWERS, CONTRACT, DRAWS, CLEAN = "valid logits", "contract", "randomness", "clean accuracy"
MOST_CLEAN = 100
"""Largest number of images of the clean accuracy."""
ENOUGH_CLEAN = 20
"""Number of images from which a clean accuracy no better than guessing is a fault."""
SHARE_CLEAN = 0.2
"""Share of the time left that the clean accuracy may take."""


def answers(trial: Trial) -> Probe:
    """Pass one image, then measure the time of passes."""
    x, _ = trial.images(1)
    with torch.no_grad(), seeded("try", "answers", device=x.device):
        logits = check_logits(copied(trial.defense)(x.clone()), 1)
    called = replace(trial.context, defenses={trial.row.name: copied(trial.defense)})
    one = timed_pass(called, trial.row)
    trial.seconds = one.filled
    told = f"a query of one image takes {one.alone:.2g} s; in a batch, {one.filled:.2g} s per image"
    numbers = {"seconds_alone": one.alone, "seconds_in_a_batch": one.filled, "classes": logits.shape[1]}
    return Probe(ANSWERS, Result.HOLDS, told, numbers)


def contract(trial: Trial) -> Probe:
    """Check shape, type and range of the purified images, and the logits."""
    x, _ = trial.images(2)
    check_contract(copied(trial.defense), x)
    with torch.no_grad(), seeded("try", "contract", device=x.device):
        purified = copied(trial.defense).purify(x.clone())
        logits = check_logits(copied(trial.defense)(x.clone()), len(x))
    low, high, kind = float(purified.min()), float(purified.max()), str(purified.dtype).removeprefix("torch.")
    told = f"images {list(x.shape)} become {kind} {list(purified.shape)} with values from {low:.3g} to {high:.3g}"
    numbers = {"type": kind, "shape": list(purified.shape), "low": low, "high": high}
    if are_probabilities(logits):
        return Probe(CONTRACT, Result.FAILS, PROBABILITIES, numbers)
    return Probe(CONTRACT, Result.HOLDS, told, numbers)


def randomness(trial: Trial) -> Probe:
    """Compare the declared randomness with the answers, and the draws within a call with those of other calls."""
    random = trial.defense.random
    if not trial.fits(passes := 200.0 if random else 30.0):
        return late(DRAWS, trial, passes)
    x, _ = trial.images(4)
    seen = seeds(copied(trial.defense), x, trial.batch())
    numbers: dict[str, Any] = {"declared_random": random}
    if seen.wrong == 0:
        return Probe(DRAWS, Result.FAILS, seen.sentence, numbers)
    if not random:
        return Probe(DRAWS, Result.HOLDS, f"declared deterministic: {seen.sentence}", numbers)
    shared = trial.context.facts(trial.row.name).shares_draws
    calls = "all images of a call share a random choice, so each draw needs a separate call, which is slower"
    told = calls if shared else "the draws of the images in a call are independent"
    return Probe(
        DRAWS, Result.HOLDS, f"declared random: {seen.sentence}; {told}", {**numbers, "draws_independent": not shared}
    )


def clean(trial: Trial) -> Probe:
    """Estimate the accuracy without an attack, at one draw an image."""
    most = min(MOST_CLEAN, len(trial.context.images))
    count = min(most, int(SHARE_CLEAN * trial.left / trial.seconds))
    if count < 1:
        return late(CLEAN, trial, most)
    x, y = trial.images(count)
    defense = copied(trial.defense)
    answers = _classes(defense, x, trial.batch())
    trial.right = (answers == y).tolist()
    estimate = clopper_pearson(sum(trial.right), count, trial.context.board.confidence)
    told, classes = f"{estimate.percent()} on {count} images", len(trial.context.images.classes)
    numbers: dict[str, Any] = {"accuracy": estimate.value, "low": estimate.low, "high": estimate.high, "n": count}
    if defense.purifier is not None and not defense.purifier.resizes:
        alone = float((_classes(Defense(defense.classifier), x, trial.batch()) == y).float().mean())
        numbers["classifier_alone"] = alone
        told += f"; the classifier alone has {100 * alone:.1f} %"
    if count < ENOUGH_CLEAN or estimate.low > 1 / classes:
        return Probe(CLEAN, Result.HOLDS, told, numbers)
    cure = (
        f"no better than guessing among {classes} classes; check the range of the images and the order of the classes"
    )
    return Probe(CLEAN, Result.FAILS, f"{told}: {cure}", numbers)


def _classes(defense: Defense, x: Tensor, batch: DeviceBatch) -> Tensor:
    with torch.no_grad(), seeded("try", "clean", device=x.device):
        (logits,) = batch.map(lambda part: (check_logits(defense(part.clone()), len(part)),), x)
    return logits.argmax(1)
