"""Accuracy of a random defense that is queried N times with the same image, or that answers by majority vote.

For image i and attack a let q[i,a] be the probability that a draw of the defense is right.

resubmission@N   mean_i min_a q[i,a]^N : an attacker may submit the same image N times and succeeds if any answer is
                 wrong
vote@K           mean_i min_a P(more than half of K draws are right) : the defense answers with a majority

vote@K is not the robustness of a voting defense: nothing attacked the vote; only a vote(…) row is.

Of m draws of which c are right, C(c,N) / C(m,N) is an unbiased estimate of q^N, and the hypergeometric probability that
more than half of K of them, drawn without replacement, are right is one of P(Binomial(K, q) > K/2): every set of draws
is as likely as any other. Plugging c/m into the power is not: by Jensen's inequality it is too large. Both rise with q,
so the attack that is worst for one draw is worst for many; it is picked on one half of the draws and scored on the
other (see `picking`), which leaves N and K up to half of the draws. A single attack, or none, needs no
picking: up to all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from purebench.statistics.estimate import Estimate
from purebench.statistics.intervals.methods import interval
from purebench.statistics.worst_case.picking import Bools, Floats, Score, right_draws, split_score
from purebench.statistics.worst_case.split_draws import require_bool, require_counts

Counts = npt.NDArray[np.int64]


def power_of_share(count: npt.ArrayLike, draws: int, times: int) -> Floats:
    """Compute C(count, times) / C(draws, times): the unbiased estimate of q^times.

    Args:
        count: Right draws, any shape, 0..draws.
        draws: Number of draws.
        times: N, at most draws.

    Returns:
        An array of the shape of `count`.
    """
    left = np.asarray(count, dtype=np.float64)
    value = np.ones_like(left)
    for used in range(times):
        value = value * np.maximum(left - used, 0.0) / (draws - used)
    return value


def majority_of_share(count: npt.ArrayLike, draws: int, voters: int) -> Floats:
    """Compute the unbiased estimate of P(more than half of `voters` draws are right).

    Args:
        count: Right draws, any shape, 0..draws.
        draws: Number of draws.
        voters: K, at most draws.

    Returns:
        An array of the shape of `count`.
    """
    right = np.arange(draws + 1)[:, np.newaxis]
    wins = np.arange(voters // 2 + 1, voters + 1)
    # in logarithms, as binomial coefficients of many draws overflow
    log = _log_choose(right, wins) + _log_choose(draws - right, voters - wins) - _log_choose(draws, voters)
    by_count = np.minimum(np.exp(log).sum(axis=1), 1.0)
    return np.asarray(by_count[np.asarray(count, dtype=np.int64)], dtype=np.float64)


def _log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Return the logarithm of the binomial coefficient, -inf where k > n."""
    of, some = np.asarray(n, dtype=np.float64), np.asarray(k, dtype=np.float64)
    inside = np.maximum(of - some, 0.0)
    value = gammaln(of + 1) - gammaln(some + 1) - gammaln(inside + 1)
    return np.asarray(np.where(some > of, -np.inf, value), dtype=np.float64)


def resubmission_per_image(right: Bools, times: int, counts: Bools | None = None, *, in_order: bool = False) -> Floats:
    """Estimate the probability that the defense is right `times` times in a row under the worst attack, per image.

    Args:
        right: bool [attacks, images, draws].
        times: N, from 1 to `most_times(right, counts)`.
        counts: bool [attacks, images], False where SKIPPED; None means all count.
        in_order: As for `robust_per_image`.

    Returns:
        [images] in [0,1].

    Raises:
        ValueError: For another shape or dtype, an image on which no attack counts, and N out of its range.
    """
    return _per_image(right, counts, times, lambda count, draws: power_of_share(count, draws, times), in_order)


def vote_per_image(right: Bools, voters: int, counts: Bools | None = None, *, in_order: bool = False) -> Floats:
    """Estimate the probability that the majority of `voters` draws is right under the worst attack, per image.

    More than half must be right, which is a lower bound where several wrong classes share the votes.

    Args:
        right: bool [attacks, images, draws].
        voters: K, odd, from 1 to `most_times(right, counts)`.
        counts: bool [attacks, images], False where SKIPPED; None means all count.
        in_order: As for `robust_per_image`.

    Returns:
        [images] in [0,1].

    Raises:
        ValueError: For another shape or dtype, an image on which no attack counts, and K even or out of its range.
    """
    if voters % 2 == 0:
        raise ValueError(f"expected an odd number of voters, but got {voters}; an even number can give a tie")
    return _per_image(right, counts, voters, lambda count, draws: majority_of_share(count, draws, voters), in_order)


def most_times(right: Bools, counts: Bools | None = None) -> int:
    """Return the largest N and K that the draws allow: half of the draws where an attack is picked, else all.

    Args:
        right: bool [attacks, images, draws].
        counts: bool [attacks, images], False where SKIPPED; None means all count.

    Returns:
        A number of draws.
    """
    draws = int(right.shape[2])
    return draws // 2 if _picks(right, counts) else draws


def resubmission_curve(
    right: Bools,
    *,
    confidence: float = 0.95,
    method: str = "gaffke",
    counts: Bools | None = None,
    upto: int | None = None,
) -> list[Estimate]:
    """Estimate resubmission@N for N = 1, 2, … `most_times`.

    Args:
        right: bool [attacks, images, draws]; [1, images, draws] for clean images, or the fresh draws of the picked
            attack.
        confidence: In (0,1), of each point separately.
        method: Of the interval over images (see `interval`), of each point separately; a sequence needs the board's
            random order of images and picks in that order.
        counts: bool [attacks, images], False where SKIPPED; None means all count.
        upto: Largest N to compute, None for all.

    Returns:
        Entry N-1 is resubmission@N, a fraction in [0,1], which falls with N at least for each picked attack. Empty if
        there are too few draws.
    """
    most, in_order = _upto(right, counts, upto), method.endswith("-sequence")
    found = (resubmission_per_image(right, n, counts, in_order=in_order) for n in range(1, most + 1))
    return [interval(values, method, confidence) for values in found]


def vote_curve(
    right: Bools,
    *,
    confidence: float = 0.95,
    method: str = "gaffke",
    counts: Bools | None = None,
    upto: int | None = None,
) -> list[Estimate]:
    """Estimate vote@K for K = 1, 3, 5, … up to `most_times`.

    It is not the robustness of a voting defense: nothing attacked the vote; only a vote(…) row is.

    Args:
        right: bool [attacks, images, draws]; [1, images, draws] for clean images, or the fresh draws of the picked
            attack.
        confidence: In (0,1), of each point separately.
        method: Of the interval over images, as for `resubmission_curve`.
        counts: bool [attacks, images], False where SKIPPED; None means all count.
        upto: Largest K to compute, None for all.

    Returns:
        Entry (K-1)/2 is vote@K, a fraction in [0,1]. Empty if there are too few draws.
    """
    most, in_order = _upto(right, counts, upto), method.endswith("-sequence")
    found = (vote_per_image(right, k, counts, in_order=in_order) for k in range(1, most + 1, 2))
    return [interval(values, method, confidence) for values in found]


def _upto(right: Bools, counts: Bools | None, upto: int | None) -> int:
    most = most_times(right, counts)
    return most if upto is None else min(most, upto)


def _picks(right: Bools, counts: Bools | None) -> bool:
    return right.shape[0] > 1 and (counts is None or bool((counts.sum(axis=0) > 1).any()))


def _per_image(right: Bools, counts: Bools | None, asked: int, score: Score, in_order: bool) -> Floats:
    right = require_bool(right, "right", ("attacks", "images", "draws"))
    used = require_counts(counts, right)
    most = most_times(right, used)
    if not 1 <= asked <= most:
        raise ValueError(
            f"expected 1 to {most} draws at once, but got {asked}: {right.shape[2]} draws were made, and half of them "
            "pick the worst attack where there are several; verify with more draws"
        )
    if _picks(right, used):
        return split_score(right, used, score, in_order=in_order)
    return np.asarray((score(right_draws(right), right.shape[2]) * used).sum(axis=0), dtype=np.float64)
