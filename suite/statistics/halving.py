"""Successive halving: which attack's adversarial example is asked again, and which is picked, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rung:
    """The best `keep` attacks of an image are asked for so many more draws."""

    keep: int
    draws: int


RUNGS = (Rung(4, 8), Rung(3, 16), Rung(2, 32))


def contenders(right: Counts, draws: Counts, counts: Bools, keep: int) -> Bools:
    """bool [attacks, images]: the `keep` attacks of each image with the least share of right draws."""
    order = np.argsort(_shares(right, draws, counts), axis=0, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(len(order))[:, np.newaxis], axis=0)
    found: Bools = (place < keep) & counts
    return found


def picked(right: Counts, draws: Counts, counts: Bools) -> Counts:
    """int [images]: the attack with the least share of right draws, -1 where none counts."""
    best: Counts = _shares(right, draws, counts).argmin(axis=0)
    return np.where(counts.any(axis=0), best, -1)


def _shares(right: Counts, draws: Counts, counts: Bools) -> Floats:
    return np.where(counts, right / np.maximum(draws, 1), np.inf)
