"""Tests whether claimed accuracies can be reproduced: a claim is verified, refuted, or neither.

A claim consists of draws of a defense at fixed images. A verifier queries the defense again at the same images. If the
claim is honest, the claimed and the new draws of an image have the same distribution, so that, given their sum, the
number of right claimed draws is hypergeometric, whatever the probability of a right answer is (Fisher's exact test,
stratified by image as by Cochran, Mantel and Haenszel). A deterministic defense is the special case of one draw, for
which it is the exact test of McNemar.

Attacks are random as well: repeated with another seed, they break other images. If the attacks of a claim were run as
it says, both runs are exchangeable on every image, and the difference of their scores is as likely d as -d. A random
sample of all images is attacked again, because images that are claimed robust alone would regress to the mean.

"Refuted" has a stated rate of false alarms over all tests of a bundle; "verified" needs an upper confidence bound below
a stated margin for each claim (an intersection-union test). Everything else is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import betaincinv

from purebench.statistics.intervals.gaffke import one_sided_bound
from purebench.statistics.ranking.paired import sign_flip

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FALSE_ALARMS = 0.01
"""Largest probability with which an honest bundle is refuted, over all its tests."""
CONFIDENCE = 0.99
"""Confidence of each upper bound that must be below its margin for a claim to be verified."""
ACCURACY_MARGIN = 0.05
"""Largest upper bound of claimed minus true accuracy, at fixed images, of a claim that is verified."""
BROKEN_MARGIN = 0.30
"""Largest upper bound of the share of images claimed robust that attacks break, of a claim that is verified."""
MOST_PER_ROBUST = 5
"""Most images that are attacked again, per requested image that is claimed robust."""
CONTRADICTION = 0.01
"""Level of the test per image by which the draws after a repeated attack contradict the claimed draws."""
SHUFFLES = 9_999
"""Random permutations, or random signs, of a test."""
_SMALLEST = 1e-12  # p-values below are rounding errors of the Fourier transform


class Conclusion(StrEnum):
    """The conclusion about a bundle.

    Attributes:
        VERIFIED: all upper bounds are within their margins, and no test rejects.
        REFUTED: a test rejects, with the stated rate of false alarms.
        UNDECIDED: neither.
    """

    VERIFIED = "verified"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class ClaimTest:
    """A test of one claim.

    Attributes:
        name: the claim.
        claimed: the claimed value, a fraction in [0,1].
        found: the verifier's value, a fraction in [0,1].
        p_value: of the hypothesis that the claim is honest, in [0,1].
        bound: upper confidence bound of the excess of the claim over the truth, in [-1,1].
        margin: the largest bound of a claim that is verified.
        images: the number of images behind the test.
    """

    name: str
    claimed: float
    found: float
    p_value: float
    bound: float
    margin: float
    images: int


def conclude(tests: Sequence[ClaimTest], *, false_alarms: float = FALSE_ALARMS) -> Conclusion:
    """Return the conclusion from the tests of all claims; the level of each is Bonferroni's.

    Args:
        tests: one test per claim; without any, nothing is decided.
        false_alarms: probability with which honest claims may be refuted, over all tests, in (0,1).
    """
    if any(test.p_value <= false_alarms / len(tests) for test in tests):
        return Conclusion.REFUTED
    if tests and all(test.bound <= test.margin for test in tests):
        return Conclusion.VERIFIED
    return Conclusion.UNDECIDED


def agreement_p_value(claimed: Counts, draws: int, found: Counts, new_draws: int) -> float:
    """Test that claimed and new draws of every image have the same distribution; exact, two-sided.

    Args:
        claimed: right draws of each image that are claimed [N], each in 0..draws.
        draws: claimed draws of each image.
        found: right draws of each image that the verifier found [N], each in 0..new_draws.
        new_draws: the verifier's draws of each image.

    Returns:
        Twice the smaller tail of the sum of the claimed right draws given the total of each image, at most 1.

    Raises:
        ValueError: the counts are not one per image, or out of range.
    """
    _require_counts(claimed, draws)
    _require_counts(found, new_draws)
    if claimed.shape != found.shape:
        raise ValueError(f"expected one count per image, but got {claimed.size} claimed and {found.size} found")
    if not claimed.size:
        return 1.0
    from scipy.stats import hypergeom  # imported here because it takes half a second

    totals, images = np.unique(claimed + found, return_counts=True)
    length = next_fast_len(int(claimed.size) * draws + 1, real=True)
    chances = hypergeom.pmf(np.arange(draws + 1), draws + new_draws, totals[:, None], draws)
    spectrum = np.ones(length // 2 + 1, dtype=np.complex128)
    for one, count in zip(chances, images, strict=True):
        spectrum *= rfft(one, length) ** int(count)
    chances, seen = np.clip(irfft(spectrum, length), 0, None), int(claimed.sum())
    high, low = float(chances[seen:].sum()), float(chances[: seen + 1].sum())
    return min(1.0, max(_SMALLEST, 2 * min(high, low)))


def shared_draws_p_value(claimed: Bools, found: Bools, blocks: Counts, rng: np.random.Generator) -> float:
    """Test claimed against new draws of a defense that makes one random choice per call; by permutations, two-sided.

    The draws of a block are permuted together, which is exact for any dependence between images of one draw.

    Args:
        claimed: whether each claimed draw was right [N,draws].
        found: whether each draw of the verifier was right [N,new draws].
        blocks: the block of each image [N]; images of a block passed together.
        rng: the source of the permutations.

    Returns:
        A p-value that is valid for any number of permutations.
    """
    draws, seen, sums = claimed.shape[1], float(claimed.sum()), np.zeros(SHUFFLES)
    middle = 0.0
    for block in np.unique(blocks):
        rows = blocks == block
        both = np.concatenate([claimed[rows].sum(axis=0), found[rows].sum(axis=0)]).astype(np.float64)
        order = rng.random((SHUFFLES, both.size)).argsort(axis=1)[:, :draws]
        sums += both[order].sum(axis=1)
        middle += draws * float(both.mean())
    more = int((np.abs(sums - middle) >= abs(seen - middle) - 1e-9).sum())
    return (1 + more) / (1 + SHUFFLES)


def excess_bound(claimed: Bools, found: Bools, *, random: bool, shared: bool, every: bool) -> float:
    """Compute an upper confidence bound of claimed minus true accuracy.

    Args:
        claimed: whether each claimed draw was right [N,draws].
        found: whether each draw of the verifier was right [N,new draws].
        random: whether the defense is random.
        shared: whether a random defense makes one random choice for all images of a call.
        every: whether these are all images of the claim; otherwise they are a random sample of them.

    Returns:
        The bound, in [-1,1], with the confidence CONFIDENCE. At all images of a deterministic defense it is the
        difference itself; at all images of a random one it is the claim minus the lower bound of Clopper and Pearson,
        which holds for draws of different images by Hoeffding (1956), or minus that of Gaffke over the draws if they
        are shared. For a sample it is Gaffke's bound of the mean difference per image; for a sample with shared draws
        it is the difference plus the distances of both bounds, each of half the error probability.
    """
    if not claimed.size or not found.size:
        return 1.0
    claim = float(claimed.mean())
    if not every:
        apart = claimed.mean(axis=1) - found.mean(axis=1)
        confidence = (1 + CONFIDENCE) / 2 if shared else CONFIDENCE
        of_images = 2 * one_sided_bound((apart + 1) / 2, confidence, "high") - 1
        if not shared:
            return of_images
        of_draws = claim - one_sided_bound(found.mean(axis=0), confidence, "low")
        return min(1.0, of_images + of_draws - float(apart.mean()))
    if not random:
        return claim - float(found.mean())
    if shared:
        return claim - one_sided_bound(found.mean(axis=0), CONFIDENCE, "low")
    right, asked = int(found.sum()), found.size
    low = float(betaincinv(right, asked - right + 1, 1 - CONFIDENCE)) if right else 0.0
    return claim - low


def contradicts(claimed: int, draws: int, found: int, new_draws: int) -> bool:
    """Return whether an image that is claimed robust is broken by a repeated attack.

    At most half of the new draws must be right, as for any image that is misclassified. With more than one draw, they
    must also be fewer than the claimed draws permit, by Fisher's exact test at the level CONTRADICTION: images near one
    half change sides by chance.

    Args:
        claimed: claimed right draws at the claimed adversarial example.
        draws: the number of claimed draws.
        found: right draws at the adversarial example of the repeated attack.
        new_draws: the number of these draws.
    """
    if 2 * found > new_draws:
        return False
    if draws == new_draws == 1:
        return True
    from scipy.stats import hypergeom  # imported here because it takes half a second

    fewer = hypergeom.cdf(found, draws + new_draws, claimed + found, new_draws)
    return bool(fewer <= CONTRADICTION)


def images_to_attack(wanted: int, robust: int, images: int) -> int:
    """Return the size of a random sample of all images that has about the wanted number of images claimed robust.

    Args:
        wanted: images claimed robust.
        robust: all images that are claimed robust.
        images: all images.

    Returns:
        The size, at most `images` and at most MOST_PER_ROBUST times the wanted number, and the smaller of the two if no
        image is claimed robust. The sample is one of all images, because those with the largest claims would regress to
        the mean.
    """
    return min(images, math.ceil(wanted * min(images / max(robust, 1), MOST_PER_ROBUST)))


def repetition_p_value(claimed: Floats, repeated: Floats, groups: Counts, seed: int) -> float:
    """Test that repeated and claimed attacks leave the same accuracy; exact, by random signs, one-sided.

    Args:
        claimed: the claimed share of right draws of each image [N].
        repeated: the share at the adversarial examples of the repeated attacks [N].
        groups: the group of each image [N]; draws of images of one group are not independent of each other.
        seed: decides the random signs.

    Returns:
        The p-value of the hypothesis against claims that are too high.
    """
    apart = np.bincount(np.unique(groups, return_inverse=True)[1], weights=claimed - repeated)
    if not apart.size or apart.sum() <= 0:
        return 1.0
    return sign_flip(apart, seed=seed, resamples=SHUFFLES) / 2


def breaks_bound(broken: int, attacked: int, robust: int) -> float:
    """Compute an upper confidence bound of the share of images claimed robust that the repeated attacks break.

    Args:
        broken: images that were broken.
        attacked: images that were attacked, a random sample without replacement.
        robust: all images that are claimed robust, at least `attacked`.

    Returns:
        The largest share whose hypergeometric test is not rejected, in [0,1]; the share itself if all were attacked,
        and 0 if no image is claimed robust.
    """
    if not robust:
        return 0.0
    from scipy.stats import hypergeom  # imported here because it takes half a second

    possible = np.arange(broken, robust - (attacked - broken) + 1)
    chances = hypergeom.cdf(broken, robust, possible, attacked)
    return float(possible[chances > 1 - CONFIDENCE].max()) / robust


def _require_counts(counts: Counts, most: int) -> None:
    if counts.ndim != 1 or (counts.size and not 0 <= counts.min() <= counts.max() <= most):
        raise ValueError(f"expected counts [N] from 0 to {most}, but got shape {counts.shape} with {counts[:5]}")
