"""Rank confidence intervals of the rows of a board, and groups of statistically indistinguishable rows.

Rows are compared on the images that all of them have, so a board in progress is compared on its finished blocks.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from purebench.core.errors import PurebenchError
from purebench.core.seeds import hash_of
from purebench.results.results import DefenseResult
from purebench.statistics import Ranking
from purebench.statistics import rank as rank_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankInterval:
    """The confidence interval of a row's rank, simultaneous for all rows of the board.

    Attributes:
        low: the lowest rank.
        high: the highest rank.
        letters: one letter for each group of the row; two rows that share a letter are statistically indistinguishable.
        best: the probability of the highest robust accuracy, over resampled images.
        images: the number of images on which all rows were compared.
    """

    low: int
    high: int
    letters: str
    best: float
    images: int

    @property
    def text(self) -> str:
        """The interval as text: "2–5", or "2" if it is a single rank."""
        return f"{self.low}" if self.low == self.high else f"{self.low}–{self.high}"


@dataclass(frozen=True)
class Standing:
    """The confidence intervals of the ranks of all rows.

    Attributes:
        intervals: the intervals by row, best first.
        p_values: of the hypothesis that two rows are equally good, adjusted for all pairs.
        images: the number of images on which the rows were compared.
        method: the method of the p-values.
        confidence: the confidence of the intervals.
        computed: whether this process computed them; False if they were read from a file.
    """

    intervals: Mapping[str, RankInterval]
    p_values: Mapping[tuple[str, str], float]
    images: int
    method: str
    confidence: float
    computed: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values: the rank intervals by row, best first, and the adjusted p-values of the pairs."""
        return {
            "places": [{"defense": name, **asdict(place)} for name, place in self.intervals.items()],
            "p_values": [{"a": a, "b": b, "p": round(p, 10)} for (a, b), p in self.p_values.items()],
            "images": self.images,
            "method": self.method,
            "confidence": self.confidence,
        }


def standing(results: Sequence[DefenseResult]) -> Standing | None:
    """Compare the rows of a board; None if they share no image.

    If the results determined where the run ended, the p-values are anytime-valid p-values of bets.

    Args:
        results: the results of one board, best first, each with a robust accuracy.
    """
    if not results:
        return None
    shared, values = on_shared_images(results)
    if not shared:
        return None
    first = results[0]
    found = _ranked(values.tobytes(), values.shape, first.board["confidence"], first.board["seed"], first.anytime)
    names = [result.name for result in results]
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    return Standing(
        intervals={name: _rank_interval(found, number) for number, name in enumerate(names)},
        p_values={(names[a], names[b]): found.p_values[a][b] for a, b in pairs},
        images=len(shared),
        method=_method(first),
        confidence=found.confidence,
    )


def ranks_file(found: Standing, results: Sequence[DefenseResult]) -> dict[str, Any]:
    """Return the content of `ranks.json`: the standing, a hash of the scores behind it, and a hash of the standing.

    The hashes detect a file of other results and accidental changes, but no deliberate ones: anyone can compute them.

    Args:
        found: the standing.
        results: the results that it is of, best first.
    """
    told = found.to_dict()
    return {**told, "scores": scores_hash(results), "content": hash_of(told)}


def scores_hash(results: Sequence[DefenseResult]) -> str:
    """Return a hash of everything that decides the standing: rows, their scores on shared images, and the settings.

    Args:
        results: the results of one board, best first, each with a robust accuracy.
    """
    images, values = on_shared_images(results)
    first = results[0]
    names = [result.name for result in results]
    told = [names, images, first.board["confidence"], first.board["seed"], _method(first)]
    return hashlib.sha256(json.dumps(told).encode() + values.tobytes()).hexdigest()


def _method(first: DefenseResult) -> str:
    return "holm, betting" if first.anytime else "romano-wolf, sign-flip and one-sided gaffke"


@lru_cache(2)
def _ranked(values: bytes, shape: tuple[int, ...], confidence: float, seed: int, anytime: bool) -> Ranking:
    """Return the ranking of values [rows, images]; the page, the terminal and the file of ranks need the same one."""
    return rank_of(np.frombuffer(values).reshape(shape), confidence, seed=seed, anytime=anytime)


def on_shared_images(results: Sequence[DefenseResult]) -> tuple[list[int], Floats]:
    """Return the images that all these rows have, and the share of correct fresh draws of each row on them.

    Args:
        results: the results of one board.

    Returns:
        The images, in the order of the first row, and the shares at the picked adversarial examples [rows, images].
            Images to which no attack applies are left out.

    Raises:
        PurebenchError: the rows were evaluated on different data.
    """
    _require_same_data(results)
    images = results[0].images
    if all(result.images == images for result in results):
        every = np.stack([result.scores() for result in results])
        known: npt.NDArray[np.bool_] = ~np.asarray(np.isnan(every).any(axis=0))
        return list(compress(images, known)), every[:, known]
    scores = [_scores(result) for result in results]
    shared = [image for image in images if all(image in score for score in scores)]
    values = np.array([[score[image] for image in shared] for score in scores], dtype=np.float64)
    return shared, values.reshape(len(results), len(shared))


def data_of(results: Sequence[DefenseResult]) -> dict[str, str]:
    """Return the known hashes of the data that the rows were evaluated on, each with the name of a row."""
    return {result.provenance["data"]: result.name for result in results if result.provenance.get("data")}


def _require_same_data(results: Sequence[DefenseResult]) -> None:
    """Raise PurebenchError if equal positions are those of different images, as after a change of the data."""
    found = data_of(results)
    if len(found) > 1:
        first, second, *_ = found.values()
        raise PurebenchError(
            f"expected rows on the same data, but the data of {first} and {second} have different hashes; run the "
            "rows again that were evaluated before the data changed, or keep their results in another folder."
        )


def letter(number: int) -> str:
    """Return the name of a group.

    The names are a, b, … z, A, … Z, then (53), (54) and so on.
    """
    letters = string.ascii_letters
    return letters[number] if number < len(letters) else f"({number + 1})"


def _scores(result: DefenseResult) -> dict[int, float]:
    """Return the share of correct fresh draws at the picked adversarial example, by image."""
    return {image: float(v) for image, v in zip(result.images, result.scores(), strict=True) if not np.isnan(v)}


def _rank_interval(found: Ranking, row: int) -> RankInterval:
    letters = "".join(letter(number) for number, group in enumerate(found.groups) if row in group)
    return RankInterval(found.low[row], found.high[row], letters, found.best[row], found.n)
