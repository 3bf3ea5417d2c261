"""Estimates the accuracy under the worst attack of each image from plain arrays.

For image i and attack a let q[i,a] be the probability that a draw of the defense is right. Robust accuracy is
mean_i min_a q[i,a], but q is known from a few draws only, and the smallest of several noisy fractions lies
below the smallest q (the winner's curse): with 16 draws, six attacks without any effect on a coin toss would lower it
by 15 points. If the attack is picked on one half of the draws and scored on the other, the mean lies
above it, by 2 to 6 points where attacks differ from image to image. So the reported value is in a bracket of the two
(see `bracket`); the value, the accuracy under the picked attacks, is an upper bound in expectation. A board picks on
more draws (see `halving`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from purebench.statistics.estimate import Estimate
from purebench.statistics.intervals.methods import interval, interval_method
from purebench.statistics.worst_case.bracket import bracket
from purebench.statistics.worst_case.picking import right_draws, split_score

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def robust_per_image(right: Bools, counts: Bools | None = None, *, in_order: bool = False) -> Floats:
    """Estimate the accuracy under the worst attack image by image: the split-draw worst case.

    With one draw (a deterministic defense) it is the plain minimum over attacks. With more, the attack with the fewest
    right draws in one half is scored on the other half, both ways round, and the two scores are averaged; with an odd
    number of draws one half has one more. Attacks that tie are distinguished by their right draws over all images of
    that half; if that ties too their scores are averaged, which needs no random choice.

    The score is an unbiased estimate of the picked attack's q, and no attack's q is below min_a q: the
    expectation is min_a q where the picking cannot err (equal attacks, a clear worst one) and above it where
    it can, never below.

    Args:
        right: bool [attacks, images, draws], whether the verification draw was right; an ERRORED one is False.
        counts: bool [attacks, images], False where the attack was SKIPPED on the image; None means all count.
        in_order: Whether ties are broken by right draws over the images before instead of all images, for a run that
            may stop at any time: more images then never change the score of one.

    Returns:
        [images] in [0,1].

    Raises:
        ValueError: For another shape or dtype, and for an image on which no attack counts.
    """
    right = require_bool(right, "right", ("attacks", "images", "draws"))
    return split_score(right, require_counts(counts, right), lambda count, draws: count / draws, in_order=in_order)


def lowest_per_image(right: Bools, counts: Bools | None = None) -> Floats:
    """Compute the smallest fraction of right draws on each image, which lies below min_a q[i,a] in expectation.

    Args:
        right: bool [attacks, images, draws], equally many draws of every attack, fixed in advance.
        counts: bool [attacks, images], False where the attack was SKIPPED on the image; None means all count.

    Returns:
        [images] in [0,1], the low end of a `bracket`.

    Raises:
        ValueError: For another shape or dtype, and for an image on which no attack counts.
    """
    right = require_bool(right, "right", ("attacks", "images", "draws"))
    used = require_counts(counts, right)
    fractions = right_draws(right) / right.shape[2]
    return np.asarray(np.where(used, fractions, np.inf).min(axis=0), dtype=np.float64)


def robust_accuracy(
    right: Bools,
    *,
    deterministic: bool,
    confidence: float = 0.95,
    counts: Bools | None = None,
    anytime: bool = False,
) -> Estimate:
    """Estimate the accuracy under the worst attack of each image, mean_i min_a q[i,a].

    Args:
        right: bool [attacks, images, draws], equally many draws of every attack, fixed in advance.
        deterministic: Whether the same image always gets the same answer.
        confidence: Of the interval, in (0,1).
        counts: bool [attacks, images], False where SKIPPED; None means all count.
        anytime: Whether the interval holds however the number of images was chosen; the images in the board's random
            order.

    Returns:
        A fraction in [0,1]; n is the number of images. Of a deterministic defense its value is the share of images on
        which no attack succeeds, with the Clopper–Pearson interval (anytime: a betting sequence). Of a random one it is
        the accuracy under the attack that half of the draws pick, scored on the other half (`robust_per_image`), in the
        `bracket` between that and the mean of the smallest fractions (`lowest_per_image`). Where a single attack counts
        on each image nothing is picked, and the value has the interval of `accuracy`.

    Raises:
        ValueError: Where `robust_per_image` does; for a deterministic defense whose draws disagree; and for a random
            one with several attacks and a single draw, whose minimum would be biased.
    """
    right = require_bool(right, "right", ("attacks", "images", "draws"))
    counts = require_counts(counts, right)
    if not deterministic and right.shape[2] == 1 and (counts.sum(axis=0) > 1).any():
        raise ValueError(
            "expected at least 2 draws of a random defense under several attacks, but got 1: the minimum "
            "over attacks of single draws is biased downwards; verify with more draws, such as 16"
        )
    per_image = robust_per_image(right, counts, in_order=anytime)
    if not deterministic and (counts.sum(axis=0) > 1).any():
        return bracket(lowest_per_image(right, counts), per_image, confidence, anytime=anytime)
    return _estimate(right, counts, per_image, deterministic, confidence, anytime)


def accuracy(right: Bools, *, deterministic: bool, confidence: float = 0.95, anytime: bool = False) -> Estimate:
    """Estimate the accuracy under a single attack (or none: the clean images), with its interval over images.

    Args:
        right: bool [images, draws]; if anytime, the images in the board's random order.
        deterministic: Whether the same image always gets the same answer: Clopper–Pearson if so, else `gaffke`.
        confidence: Of the interval, in (0,1).
        anytime: As for `robust_accuracy`.

    Returns:
        A fraction in [0,1]; n is the number of images.

    Raises:
        ValueError: For another shape or dtype, and for a deterministic defense whose draws disagree.
    """
    right = require_bool(right, "right", ("images", "draws"))[np.newaxis]
    counts = require_counts(None, right)
    return _estimate(right, counts, right_draws(right)[0] / right.shape[2], deterministic, confidence, anytime)


def _estimate(
    right: Bools, counts: Bools, per_image: Floats, deterministic: bool, confidence: float, anytime: bool
) -> Estimate:
    method = interval_method(deterministic, anytime)
    if not deterministic:
        return interval(per_image, method, confidence)
    torn = (right.any(axis=2) != right.all(axis=2)) & counts
    if torn.any():
        raise ValueError(
            "expected equal draws of each image from a deterministic defense, but its draws disagree on "
            f"{int(torn.any(axis=0).sum())} of {right.shape[1]} images; set deterministic=False or seed it"
        )
    return interval(per_image, method, confidence)


def require_bool(array: Bools, name: str, axes: tuple[str, ...]) -> Bools:
    """Check a bool array.

    Args:
        array: The array to check.
        name: Its name in the message.
        axes: Names of its axes, none of which may be empty.

    Returns:
        The array as a numpy array.

    Raises:
        ValueError: For another dtype or shape.
    """
    array = np.asarray(array)
    if array.dtype != np.bool_ or array.ndim != len(axes) or 0 in array.shape:
        raise ValueError(
            f"expected {name} to be a bool array [{', '.join(axes)}], each at least 1, but got {array.dtype} of "
            f"shape {list(array.shape)}; convert with .astype(bool) and order the axes as listed"
        )
    return array


def require_counts(counts: Bools | None, right: Bools) -> Bools:
    """Check `counts`, or make it.

    Args:
        counts: bool [attacks, images], or None, which means that all count.
        right: bool [attacks, images, draws].

    Returns:
        bool [attacks, images].

    Raises:
        ValueError: For another shape or dtype, and if no attack counts on an image.
    """
    if counts is None:
        return np.ones(right.shape[:2], dtype=np.bool_)
    counts = require_bool(counts, "counts", ("attacks", "images"))
    if counts.shape != right.shape[:2]:
        raise ValueError(
            f"expected counts of shape {list(right.shape[:2])} = [attacks, images] as in right, "
            f"but got {list(counts.shape)}; give one entry for each attack and image"
        )
    none = ~counts.any(axis=0)
    if none.any():
        raise ValueError(
            f"expected at least one attack to count on every image, but got none on {int(none.sum())} of "
            f"{none.size} images (first: image {int(np.argmax(none))}); run an attack on these images, or leave "
            "them out"
        )
    return counts
