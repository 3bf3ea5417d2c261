"""Compares rows of a board in pairs, on the same images, with Holm's correction over the pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.records.outcome import Outcome
from purebench.results.results import DefenseResult
from purebench.statistics import Comparison, compare, holm
from purebench.statistics.signs import RESAMPLES

Floats = npt.NDArray[np.float64]

SIGNS_A_PAIR = 200
"""Random signs for each pair that Holm corrects for, so that p-values can be small enough to stay significant after the
correction."""


@dataclass(frozen=True)
class Pair:
    """The comparison of row a with row b.

    Attributes:
        a: the name of the first row.
        b: the name of the second row.
        found: the comparison.
        adjusted: the p-value adjusted by Holm over all requested pairs.
        apart: whether the adjusted p-value shows that the rows differ.
    """

    a: str
    b: str
    found: Comparison
    adjusted: float
    apart: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        comparison = {**asdict(self.found), "difference": self.found.difference.to_dict()}
        return {"a": self.a, "b": self.b, "adjusted": self.adjusted, "apart": self.apart, **comparison}


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: the name to show.
        result: the result of the defense.
    """

    name: str
    result: DefenseResult


def comparisons(
    pairs: Iterable[tuple[Side, Side]],
    *,
    attack: str | None = None,
    confidence: float | None = None,
    shared: bool = False,
) -> list[Pair]:
    """Compare pairs of results.

    If the results determined where a run ended, the tests and intervals are anytime-valid.

    Args:
        pairs: the pairs to compare.
        attack: the attack under which accuracies are compared; None for the robust accuracies.
        confidence: the confidence of the intervals; None for the board's.
        shared: whether to compare on the images that both sides have; otherwise different images are an error.

    Returns:
        The compared pairs, in their order.

    Raises:
        PurebenchError: the attack is unknown, images ERRORED, or the images differ or there are none.
    """
    wanted = list(pairs)
    resamples = max(RESAMPLES, SIGNS_A_PAIR * len(wanted))
    found = [_pair(a, b, attack, confidence, shared, resamples) for a, b in wanted]
    adjusted = holm([one.p_value for one in found]).tolist() if found else []
    return [
        Pair(a.name, b.name, one, p, p <= 1 - one.difference.confidence + 1e-12)
        for (a, b), one, p in zip(wanted, found, adjusted, strict=True)
    ]


def other_settings(a: DefenseResult, b: DefenseResult) -> list[str]:
    """Return the names of the settings in which the boards of two results differ.

    If there are any, the difference of the results is also one of the boards.
    """
    return sorted(key for key in {*a.board, *b.board} if a.board.get(key) != b.board.get(key))


def _pair(
    one: Side, other: Side, attack: str | None, confidence: float | None, shared: bool, resamples: int
) -> Comparison:
    a, b = one.result, other.result
    anytime = a.anytime or b.anytime
    left, right = _values(a, attack), _values(b, attack)
    ids = [image for image in left if image in right] if shared else None
    if ids is not None and not ids:
        raise PurebenchError(f"{one.name}, {other.name}: expected common images, but they have none.")
    here, there = (ids or list(side) for side in (left, right))
    if len(here) != len(there):  # `compare` reports it, but needs equally many values
        size = min(len(here), len(there))
        first, second = _array(left, here)[:size], _array(right, there)[:size]
    else:
        first, second = _array(left, here), _array(right, there)
    try:
        return compare(
            first,
            second,
            images=(here, there),
            confidence=confidence or float(a.board["confidence"]),
            seed=int(a.board["seed"]),
            resamples=resamples,
            anytime=anytime,
        )
    except PurebenchError as error:
        raise PurebenchError(f"{one.name}, {other.name}: {error} (--shared)") from error


def _array(values: dict[str, float], ids: Sequence[str]) -> Floats:
    return np.array([values[image] for image in ids], dtype=np.float64)


def _values(result: DefenseResult, attack: str | None) -> dict[str, float]:
    """Return the share of correct answers by image, identified by the data set's hash and the position in it."""
    data = result.provenance.get("data", "")
    if attack is None:
        if not result.attacked:
            raise PurebenchError(f"{result.name}: expected an attack with results, but there is none.")
        if result.errored:
            raise PurebenchError(
                f"{result.name}: expected a robust accuracy, but {result.errored} images errored; run it again "
                "with --retry-errors."
            )
        found = result.scores()
    else:
        known = {one.name: one for one in result.attacks}
        if attack not in known:
            raise PurebenchError(f"--attack: {attack!r} is not on the board; {did_you_mean(attack, known)}")
        if errored := known[attack].count(Outcome.ERRORED):
            raise PurebenchError(
                f"{result.name}, {attack}: expected an answer for each image, but {errored} images errored; run it "
                "again with --retry-errors."
            )
        if result.spared(known[attack]).any():
            raise PurebenchError(
                f"{result.name}, {attack}: expected an attack on all images, but those that an earlier attack had "
                "broken were left out, so that the accuracy is conditional; compare robust accuracies (no --attack)."
            )
        asked = np.array([outcome is not Outcome.SKIPPED for outcome in known[attack].outcomes])
        found = np.where(asked, result.right(known[attack]).mean(axis=1), np.nan)
    values = {f"{data}:{image}": float(v) for image, v in zip(result.images, found, strict=True) if not np.isnan(v)}
    if not values:
        raise PurebenchError(f"{result.name}: expected answers under {attack or 'some attack'}, but it has none.")
    return values
