"""Two answers about the same images: the difference of their means, image by image.

Most of what makes two defenses differ from board to board is the images; on the same images it cancels. The difference
d = a - b of values in [0,1] lies in [-1,1]; (1 + d)/2 lies in [0,1], so intervals for means hold for it.

mcnemar        exact: of the images on which just one is right, is that one equally often a and b? (McNemar,
               Psychometrika 12, 1947; the binomial test of scipy)
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
from purebench.statistics.ranking.skewness import guard_p_values
from purebench.statistics.sequential.anytime import anytime_p_values
from purebench.statistics.signs import RESAMPLES, sign_flipped, studentised

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Defense a against defense b.

    difference: mean of a - b, in [-1,1], with its interval.
    p_value: two-sided, of equal accuracy at the adversarial examples that were picked for each; test: "mcnemar",
    "sign-flip" or "betting", how it was made. That of sign flips is at least the guard's (see `skewness`).
    better, worse: images on which a is above b, and below.
    odds_ratio: better to worse, half an image added to each (Haldane–Anscombe), so that it is finite.
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
    """Raises PurebenchError unless both are the same image ids in the same order, each once."""
    if len(set(a)) != len(a):
        raise PurebenchError(f"expected each image once, but got {len(a) - len(set(a))} again; compare one board")
    if list(a) == list(b):
        return
    only_a, only_b = len(set(a) - set(b)), len(set(b) - set(a))
    what = "the same images in another order" if not only_a and not only_b else f"{only_a} and {only_b} images apart"
    raise PurebenchError(
        f"expected two defenses on the same images, but got {what} ({len(a)} and {len(b)} images); "
        "run both on one board, or keep the images they share, in the same order"
    )


def paired_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95, *, anytime: bool = False
) -> Estimate:
    """The mean of a - b over images with the `gaffke` interval of (1 + a - b) / 2, scaled back ("paired-gaffke").

    a, b: [n] in [0,1], the same images in the same order. confidence: in (0,1).
    anytime: that of the betting sequence, "paired-betting-sequence", for a run that may stop at any time; the images in
    the board's random order.
    Returns a difference in [-1,1]. Raises ValueError for values that are not that, or not as many.
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
    """What the attack takes: clean minus attacked, image by image; what randomness alone costs is in both.

    clean, attacked: [n] in [0,1], the same estimand on both (accuracy, resubmission@N or vote@K by image), the same
    images in the board's random order. Raises ValueError as `paired_difference` does.
    """
    return paired_difference(clean, attacked, confidence, anytime=anytime)


def mcnemar(better: int, worse: int) -> float:
    """The exact two-sided p-value; 1 where no image is discordant. better, worse: images, >= 0."""
    # under equality either is right on half of the discordant images; the two tails are alike
    return min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))


def sign_flip(differences: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """The two-sided p-value of "the differences are as likely d as -d". differences: [n].

    Rows of equal accuracy whose differences are skewed need the guard as well (see `skewness`); `compare` has it.
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
    """Two defenses on the same images.

    a, b: [n] in [0,1], one per image, in the board's random order: 0 or 1, or fractions of draws.
    images: the ids of a's images and of b's. confidence: in (0,1). seed: decides the random signs, where they are used;
    resamples: how many. anytime: interval and p-value ("betting") that hold however the number of images came about.
    Raises PurebenchError where the images differ, ValueError for values that are not [n] in [0,1].
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
        p_value = max(p_value, float(guard_p_values(d[np.newaxis])[0]))
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
            f"expected as many values of either, but got {left.size} and {right.size}; keep the images they share"
        )
    return left - right
