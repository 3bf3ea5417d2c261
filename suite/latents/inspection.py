"""Measures the information in each latent of a purifier: accuracy with some latents resampled and all others kept.

It helps to choose the alphas of a purifier that mixes latents (Serez et al. 2025, arXiv:2412.03453): a latent that can
be resampled without loss of accuracy can be given up at no cost.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from purebench.core import registry
from purebench.core.answers import check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense, LatentPurifier
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.data.datasets import Array
from purebench.latents.inspection_result import Inspection, LatentEffect, Pictures
from purebench.latents.progress import Progress
from purebench.latents.resampling import Answers, Asker, held_codes, resample
from purebench.statistics import Estimate, accuracy, interval


def inspect_defense(
    defense: Defense,
    x: Tensor,
    y: Tensor,
    *,
    draws: int = 4,
    seed: int = 0,
    hold: bool = False,
    confidence: float = 0.95,
    batch: DeviceBatch | None = None,
    pictures: list[int] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Inspection:
    """Resample each latent of the defense's purifier alone, with all finer ones, and all others but it.

    Intervals of accuracies are Clopper–Pearson where nothing is random, else `gaffke`; those of distances and margins
    are Student's t. Each interval is valid separately, not simultaneously with the others.

    Args:
        defense: A defense whose purifier mixes latents.
        x: Images [N,C,H,W] in [0,1] in random order, N at least 2.
        y: Labels [N].
        draws: Number of draws of everything that is random.
        seed: Seed of the draws.
        hold: Whether kept latents hold their codes or are encoded given what was resampled above them, see KEPT.
        confidence: Of the intervals, in (0,1).
        batch: Device and batch size; None for the default.
        pictures: Positions of the images to keep pictures of, none by default.
        progress: Called with "resampling", the passes over all images that are done, and their total number.

    Returns:
        The accuracies and the findings for each latent.

    Raises:
        PurebenchError: If the purifier mixes no latents, or images, labels and classifier do not fit each other.
    """
    purifier = latents_of(defense)
    require_fit(defense, x, y, draws)
    n, random = len(purifier.kept), defense.classifier_random
    asked = {where for i in range(n) for where in subsets(i, n)}
    once = draws if random else 1
    total, passes = 2 * once + (len(asked - {()}) + 2) * draws, count(1)
    asker = Asker(
        defense.classifier,
        x,
        y,
        batch or DeviceBatch(),
        seed,
        pictures or [],
        lambda: progress("resampling", next(passes), total),
    )

    def decode(where: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
        return lambda part: purifier.autoencode(part, resample(where, held_codes(purifier, part, hold)))

    clean, _ = asker.ask("clean", lambda part: part, once)
    base, images = asker.ask("resampled", decode(()), once)
    answers: dict[tuple[int, ...], Answers] = {(): base}
    for where in sorted(asked - {()}):
        answers[where], _ = asker.ask(" ".join(("resampled", *map(str, where))), decode(where), draws, images)
    purified, _ = asker.ask("purified", purifier, draws, images)
    slopes = asker.slopes(purifier, draws, hold)

    def rate(answer: Answers, changes: bool = True) -> Estimate:
        return accuracy(answer.right, deterministic=not (changes or random), confidence=confidence)

    def effect(i: int) -> LatentEffect:
        only, finer, others = (answers[where] for where in subsets(i, n))
        return LatentEffect(
            latent=i,
            kept=purifier.kept[i],
            resampled=rate(only),
            difference=mean_difference(only.right.mean(1), base.right.mean(1), confidence),
            from_here=rate(finer),
            alone=rate(others, n > 1),
            distance=mean(only.distance.mean(1), confidence),
            change=mean(np.abs(only.margin - base.margin.mean(1, keepdims=True)).mean(1), confidence),
            slope=None if slopes is None else mean(slopes[i].mean(1), confidence),
        )

    columns = [clean, base, purified, *(answers[i,] for i in range(n))]
    return Inspection(
        draws=draws,
        seed=seed,
        hold=hold,
        clean=rate(clean, False),
        reconstructed=rate(base, False),
        purified=rate(purified, purifier.random),
        generated=rate(answers[tuple(range(n))]),
        latents=tuple(effect(i) for i in range(n)),
        pictures=Pictures(
            names=("original", "reconstruction", "purified", *(f"latent {i}" for i in range(n))),
            images=np.stack([answer.pictures for answer in columns]),
            changes=np.stack([answer.change for answer in columns]),
            distances=np.array([answer.distance.mean() for answer in columns]),
        ),
    )


def subsets(i: int, n: int) -> tuple[tuple[int, ...], ...]:
    """Return the sets of latents to resample for latent i: it alone, it and all finer ones, all others.

    Args:
        i: Number of the latent, from 0.
        n: Number of latents.

    Returns:
        Three tuples of numbers of latents.
    """
    return (i,), tuple(range(i, n)), tuple(j for j in range(n) if j != i)


def latents_of(defense: Defense) -> LatentPurifier:
    """Return the defense's purifier as a purifier that mixes latents.

    Args:
        defense: The defense.

    Returns:
        The purifier.

    Raises:
        PurebenchError: If it mixes none; the message names the registered defenses that do.
    """
    if isinstance(defense.purifier, LatentPurifier):
        return defense.purifier
    got = "no purifier" if defense.purifier is None else type(defense.purifier).__name__
    cure = ", ".join(latent_defenses()) or "none is registered"
    raise PurebenchError(
        f"inspect: expected a purifier that mixes latents, but got {got}; registered defenses that do: {cure}."
    )


def latent_defenses() -> list[str]:
    """Return the registered defenses whose factories declare a LatentPurifier.

    A factory declares it by being one, or by the return type of its signature; none is called. Those that cannot be
    imported are left out.
    """
    found = []
    for name in registry.names("defenses"):
        try:
            make, _ = registry.factory("defenses", name)
            made = make if inspect.isclass(make) else typing.get_type_hints(make).get("return")
        except Exception:  # a third-party factory may raise anything
            continue
        kinds = [kind for kind in (made, *typing.get_args(made)) if inspect.isclass(kind)]
        if any(issubclass(kind, LatentPurifier) for kind in kinds):
            found.append(name)
    return found


def require_fit(defense: Defense, x: Tensor, y: Tensor, draws: int) -> None:
    """Check that a defense can be inspected on images.

    Args:
        defense: The defense.
        x: Images [N,C,H,W] in [0,1].
        y: Labels [N].
        draws: Number of draws.

    Raises:
        PurebenchError: For too few images or draws, images that the defense cannot take, and labels that it does not
            have.
    """
    if len(x) < 2 or draws < 1:
        raise PurebenchError(f"inspect: expected at least 2 images and 1 draw, but got {len(x)} and {draws}.")
    try:
        with torch.no_grad(), seeded("probe", device=x.device):
            classes = check_logits(defense(x[:2]), 2).shape[1]
    except Exception as error:  # a third-party defense may raise anything
        shape = list(x.shape[1:])
        raise PurebenchError(
            f"inspect: expected images that the defense accepts, but it fails on images of shape {shape} "
            f"({error}); choose a matching dataset and classifier."
        ) from error
    if classes < 2 or int(y.max()) >= classes:
        raise PurebenchError(
            f"inspect: expected at least 2 classes and labels below their number, but the classifier has {classes} "
            f"and the labels go up to {int(y.max())}; choose a matching dataset."
        )


def mean(values: Array, confidence: float) -> Estimate:
    """Estimate the mean of values of any size, with Student's t interval, which is approximate.

    Args:
        values: [N], N at least 2.
        confidence: In (0,1).

    Returns:
        The mean with its interval.
    """
    centre, n = float(values.mean()), len(values)
    half = -float(stdtrit(n - 1, (1 - confidence) / 2)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Estimate(centre, centre - half, centre + half, confidence, n, "student-t")


def mean_difference(a: Array, b: Array, confidence: float) -> Estimate:
    """Estimate the mean of a - b by image, with the `gaffke` interval of (1 + a - b) / 2, scaled back.

    Args:
        a: [N] in [0,1].
        b: [N] in [0,1], the same images.
        confidence: In (0,1).

    Returns:
        A difference in [-1,1].
    """
    found = interval((1 + a - b) / 2, "gaffke", confidence)
    value, low, high = (2 * end - 1 for end in (found.value, found.low, found.high))
    return Estimate(value, low, high, confidence, found.n, "paired-gaffke")
