"""Paired comparisons of two defenses: the difference of their means on the same images.

Most of what makes two defenses differ from board to board is the images; on the same images it cancels. The difference
d = a - b of values in [0,1] lies in [-1,1]; (1 + d)/2 lies in [0,1], so intervals for means hold for it.

mcnemar        exact: of the images on which exactly one is right, is that one equally often a and b? (McNemar,
               Psychometrika 12, 1947)
sign flips     the same question for fractions of draws (Fisher's randomisation test; see `signs`), with a guard against
               skewed differences (see `skewness`)
effect sizes   the risk difference; the odds ratio and Cohen's g of the discordant images (Cohen 1988, chapter 5)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from purebench.core.errors import PurebenchError
from purebench.statistics.estimate import Estimate, require_unit_values
from purebench.statistics.intervals.methods import interval
from purebench.statistics.ranking.skewness import GUARD_SHARE, guard_p_values
from purebench.statistics.sequential.anytime import anytime_p_values
from purebench.statistics.signs import RESAMPLES, sign_flipped, studentised

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison of defense a with defense b.

    Attributes:
        difference: Mean of a - b, in [-1,1], with its interval.
        p_value: Two-sided p-value of equal accuracy at the adversarial examples that were picked for each. That of sign
            flips is at least the guard's (see `skewness`).
        test: Name of the test that made the p-value: "mcnemar", "sign-flip" or "betting".
        better: Number of images on which a is above b.
        worse: Number of images on which a is below b.
        odds_ratio: better / worse, with half an image added to each (Haldane–Anscombe), so that it is finite.
        cohen_g: better/(better+worse) - 1/2, in [-1/2,1/2]: 0.05 small, 0.15 medium, 0.25 large; 0 where none differs.
    """

    difference: Estimate
    p_value: float
    test: str
    better: int
    worse: int
    odds_ratio: float
    cohen_g: float


def require_same_images(a: Sequence[object], b: Sequence[object]) -> None:
    """Check that two defenses have the same image ids in the same order, each once.

    Args:
        a: Ids of the images of one defense.
        b: Ids of the images of the other defense.

    Raises:
        PurebenchError: If they differ or an id occurs twice.
    """
    if len(set(a)) != len(a):
        raise PurebenchError(
            f"expected each image once, but {len(a) - len(set(a))} are repeated; compare results on one board"
        )
    if list(a) == list(b):
        return
    only_a, only_b = len(set(a) - set(b)), len(set(b) - set(a))
    what = (
        "the same images in another order"
        if not only_a and not only_b
        else (f"{only_a} and {only_b} images that only one of them has")
    )
    raise PurebenchError(
        f"expected two defenses on the same images, but got {what} ({len(a)} and {len(b)} images); "
        "run both on one board, or keep the images they share, in the same order"
    )


def paired_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95, *, anytime: bool = False
) -> Estimate:
    """Estimate the mean of a - b over images ("paired-gaffke").

    The interval is the `gaffke` interval of (1 + a - b) / 2, scaled back.

    Args:
        a: [n] in [0,1], one per image.
        b: [n] in [0,1], the same images in the same order.
        confidence: In (0,1).
        anytime: Whether to use the betting sequence instead ("paired-betting-sequence"), for a run that may stop at any
            time; the images in the board's random order.

    Returns:
        A difference in [-1,1].

    Raises:
        ValueError: If the values are not [n] in [0,1], or their numbers differ.
    """
    d = _differences(a, b)
    method = "betting-sequence" if anytime else "gaffke"
    found = interval((1 + d) / 2, method, confidence)
    value = float(d.mean())
    low, high = min(2 * found.low - 1, value), max(2 * found.high - 1, value)
    return Estimate(value, low, high, confidence, d.size, f"paired-{method}")


def attributable_loss(
    clean: npt.ArrayLike, attacked: npt.ArrayLike, confidence: float = 0.95, *, anytime: bool = False
) -> Estimate:
    """Estimate the accuracy lost to the attack: clean minus attacked, image by image.

    The loss due to randomness alone is in both and cancels.

    Args:
        clean: [n] in [0,1], one per image.
        attacked: [n] in [0,1], the same estimand (accuracy, resubmission@N or vote@K by image) on the same images.
        confidence: In (0,1).
        anytime: Whether the interval holds for a run that may stop at any time; the images in the board's random order.

    Returns:
        A difference in [-1,1].

    Raises:
        ValueError: If the values are not [n] in [0,1], or their numbers differ.
    """
    return paired_difference(clean, attacked, confidence, anytime=anytime)


def mcnemar(better: int, worse: int) -> float:
    """Compute the exact two-sided p-value of McNemar's test.

    Args:
        better: Number of images on which only the first is right, >= 0.
        worse: Number of images on which only the second is right, >= 0.

    Returns:
        The p-value; 1 where no image is discordant.
    """
    # if both are equal, each is right on half of the discordant images; the two tails are equal
    return min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))


def sign_flip(differences: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Compute the two-sided p-value of "the differences are as likely d as -d".

    Defenses of equal accuracy whose differences are skewed need the guard as well (see `skewness`); `compare` has it.

    Args:
        differences: [n].
        seed: Decides the random signs.
        resamples: Number of random sign vectors.

    Returns:
        The p-value, in (0,1].
    """
    d = np.asarray(differences, dtype=np.float64)[np.newaxis]
    exceeding = int((sign_flipped(d, resamples, seed)[:, 0] >= studentised(d)[0] - 1e-9).sum())
    return (1 + exceeding) / (1 + resamples)


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    images: tuple[Sequence[object], Sequence[object]],
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
    anytime: bool = False,
) -> Comparison:
    """Compare two defenses on the same images.

    Args:
        a: [n] in [0,1], one per image, in the board's random order: 0 or 1, or fractions of draws.
        b: [n] in [0,1], as a.
        images: The ids of a's images and of b's.
        confidence: In (0,1).
        seed: Decides the random signs, where they are used.
        resamples: Number of random sign vectors.
        anytime: Whether interval and p-value ("betting") hold however the number of images was chosen.

    Returns:
        The comparison.

    Raises:
        PurebenchError: If the images differ.
        ValueError: If the values are not [n] in [0,1].
    """
    require_same_images(*images)
    d = _differences(a, b)
    if len(images[0]) != d.size:
        raise ValueError(f"expected an id for each of {d.size} images, but got {len(images[0])}; pass one per value")
    better, worse = int((d > 0).sum()), int((d < 0).sum())
    if anytime:
        test, p_value = "betting", float(anytime_p_values(d[np.newaxis])[0])
    elif np.isin(d, (-1.0, 0.0, 1.0)).all():
        test, p_value = "mcnemar", mcnemar(better, worse)
    else:
        test, p_value = "sign-flip", sign_flip(d, seed=seed, resamples=resamples)
        p_value = max(p_value, min(1.0, GUARD_SHARE * float(guard_p_values(d[np.newaxis])[0])))
    return Comparison(
        difference=paired_difference(a, b, confidence, anytime=anytime),
        p_value=p_value,
        test=test,
        better=better,
        worse=worse,
        odds_ratio=(better + 0.5) / (worse + 0.5),
        cohen_g=better / (better + worse) - 0.5 if better + worse else 0.0,
    )


def _differences(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    left, right = require_unit_values(a), require_unit_values(b)
    if left.size != right.size:
        raise ValueError(
            f"expected equally many values of both, but got {left.size} and {right.size}; keep the images that "
            "they share"
        )
    return left - right
