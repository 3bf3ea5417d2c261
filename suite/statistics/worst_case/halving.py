"""Picks one adversarial example per image among those of several attacks, by successive halving.

Every attack's x' is first verified with the same number of draws (the columns). Then, rung by rung, the attacks in
contention on an image get more draws, and one is picked; it is scored on fresh draws that were not used here. See
Karnin, Koren & Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013, for successive halving.

The attack with the fewest right draws is a bad pick: of several noisy fractions the smallest is mostly due to chance
(the winner's curse), and "the attack that is strongest over the block, on every image" can be better. So the estimates
are shrunk towards what is expected of that attack on that image (empirical Bayes):

    right[a,i] ~ Binomial(draws[a,i], q[a,i]),   logit q[a,i] ~ N(image_i + attack_a, s²)

The effects are fitted by penalised maximum likelihood, s² by moments, both from the block at hand. With s = 0 the
smallest posterior mean is that of one attack on every image; with large s it is that of the fewest right draws; the
constant policies are thus in the set that is picked from, as far as the block supports them. The posterior mean does
not depend on why an attack got more draws than another, so adaptive draws cause no bias here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, roots_hermitenorm

from purebench.statistics.worst_case.picking import Bools, Floats

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of successive halving.

    Attributes:
        keep: Number of attacks per image that get more draws, >= 1.
        draws: Number of draws that each of them gets, >= 1.
    """

    keep: int
    draws: int


RUNGS: tuple[Rung, ...] = (Rung(3, 16), Rung(2, 24))
"""The rungs after the columns: at most 96 draws per image. docs/statistics.md has the regret of the pick, which more
draws lower where attacks differ from image to image.
"""

FRESH = 32
"""Number of draws that score the pick."""

_PRECISION = 1 / 9
"""Precision of the penalty on image and attack effects, in logits^-2: a standard deviation of 3 logits."""

_LEAST_VARIANCE, _MOST_VARIANCE = 1e-4, 25.0
"""Bounds of s², in logits²."""

_FITS = 8
_NODES, _WEIGHTS = roots_hermitenorm(9)
_DECIMALS = 9
"""Posterior means that agree to this many decimals are tied: the attack that comes first is picked."""


def contenders(right: npt.ArrayLike, draws: npt.ArrayLike, counts: npt.ArrayLike, keep: int) -> Bools:
    """Choose the attacks that get more draws on each image.

    Args:
        right: int [attacks, images], right draws so far.
        draws: int [attacks, images], draws so far, at least 1 where the attack counts.
        counts: bool [attacks, images], False where the attack has no x' (skipped or failed).
        keep: Number of attacks per image to keep, >= 1.

    Returns:
        bool [attacks, images], at most `keep` attacks per image: those with the smallest expected accuracy. Ties go to
        the attack that comes first.

    Raises:
        ValueError: If the shapes differ, a count is impossible or keep is below 1.
    """
    right_, draws_, counts_ = _checked(right, draws, counts)
    if keep < 1:
        raise ValueError(f"expected to keep at least 1 attack per image, but got {keep!r}; pass the `keep` of a rung")
    order = np.argsort(_expected(right_, draws_, counts_), axis=-2, kind="stable")
    place = np.argsort(order, axis=-2, kind="stable")
    return np.asarray((place < keep) & counts_, dtype=np.bool_)


def picked(right: npt.ArrayLike, draws: npt.ArrayLike, counts: npt.ArrayLike) -> Counts:
    """Pick the attack with the smallest expected accuracy on each image.

    With one draw of each attack (a deterministic defense) that is the first attack that is wrong, or else the first.

    Args:
        right: int [attacks, images], right draws of all rungs together.
        draws: int [attacks, images], draws of all rungs together, at least 1 where the attack counts.
        counts: bool [attacks, images], False where the attack has no x'.

    Returns:
        int [images]: the number of the picked attack, -1 where no attack counts. Ties go to the one that comes first.

    Raises:
        ValueError: If the shapes differ or a count is impossible.
    """
    right_, draws_, counts_ = _checked(right, draws, counts)
    first = np.argmin(_expected(right_, draws_, counts_), axis=-2)
    return np.where(counts_.any(axis=-2), first, -1).astype(np.int64)


def _checked(right: npt.ArrayLike, draws: npt.ArrayLike, counts: npt.ArrayLike) -> tuple[Counts, Counts, Bools]:
    """Return the arrays [..., attacks, images]; blocks of equal size may be stacked in front."""
    found, asked, some = np.asarray(right), np.asarray(draws), np.asarray(counts)
    if found.ndim < 2 or found.shape != asked.shape or found.shape != some.shape or some.dtype != np.bool_:
        raise ValueError(
            "expected right, draws and counts of one shape [attacks, images], counts bool, but got shapes "
            f"{list(found.shape)}, {list(asked.shape)} and {list(some.shape)} (counts: {some.dtype}); use one row "
            "per attack"
        )
    if not ((found >= 0) & (found <= asked) & ((asked >= 1) | ~some))[some].all():
        raise ValueError(
            "expected 0 <= right <= draws and at least 1 draw wherever an attack counts, but got other values; set "
            "counts to False where an attack was not run"
        )
    # attacks that do not count get weight 0
    return np.where(some, found, 0).astype(np.int64), np.where(some, asked, 0).astype(np.int64), some


def _expected(right: Counts, draws: Counts, counts: Bools) -> Floats:
    """Return [..., attacks, images]: the posterior mean of q, infinite where the attack does not count."""
    if draws.size and draws.max() <= 1:
        return np.where(counts, right, np.inf).astype(np.float64)
    mean = _fitted(right, draws)
    p = expit(mean)
    information = draws * p * (1 - p)
    variance = _residual_variance(right - draws * p, information, counts)
    # the posterior on the nodes of the normal prior N(mean, variance)
    eta = mean[..., np.newaxis] + np.sqrt(variance)[..., np.newaxis] * _NODES
    q = expit(eta)
    log_likelihood = right[..., np.newaxis] * eta + draws[..., np.newaxis] * np.log1p(-q)
    weights = np.exp(log_likelihood - log_likelihood.max(axis=-1, keepdims=True)) * _WEIGHTS
    posterior = (weights * q).sum(axis=-1) / weights.sum(axis=-1)
    return np.where(counts, np.round(posterior, _DECIMALS), np.inf)


def _fitted(right: Counts, draws: Counts) -> Floats:
    """Return [..., attacks, images]: image_i + attack_a in logits, by Newton steps on either in turn."""
    total = np.maximum(draws.sum(axis=(-2, -1), keepdims=True), 1)
    share = (right.sum(axis=(-2, -1), keepdims=True) + 0.5) / (total + 1)
    center = np.log(share / (1 - share))
    image = np.zeros((*right.shape[:-2], 1, right.shape[-1]))
    attack = np.zeros((*right.shape[:-1], 1))
    for _ in range(_FITS):
        image = _newton(image, center + attack, right, draws, -2)
        attack = _newton(attack, center + image, right, draws, -1)
    return np.asarray(center + image + attack, dtype=np.float64)


def _newton(effect: Floats, rest: Floats, right: Counts, draws: Counts, axis: int) -> Floats:
    p = expit(rest + effect)
    slope = (right - draws * p).sum(axis=axis, keepdims=True) - _PRECISION * effect
    curvature = (draws * p * (1 - p)).sum(axis=axis, keepdims=True) + _PRECISION
    return np.asarray(effect + np.clip(slope / curvature, -2.0, 2.0), dtype=np.float64)


def _residual_variance(residual: Floats, information: Floats, counts: Bools) -> Floats:
    """Return s² [..., 1, 1] by moments: E residual² = information + s² information², less what the fit took."""
    cells = counts.sum(axis=(-2, -1), keepdims=True)
    fitted = counts.any(axis=-1, keepdims=True).sum(axis=-2, keepdims=True) + counts.any(axis=-2, keepdims=True).sum(
        axis=-1, keepdims=True
    )
    free = np.maximum(cells - fitted + 1, 1)
    excess = (residual**2).sum(axis=(-2, -1), keepdims=True) * (cells / free)
    excess = excess - information.sum(axis=(-2, -1), keepdims=True)
    found = excess / np.maximum((information**2).sum(axis=(-2, -1), keepdims=True), 1e-12)
    return np.asarray(np.clip(found, _LEAST_VARIANCE, _MOST_VARIANCE), dtype=np.float64)
