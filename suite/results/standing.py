"""Where each row of a board stands, with its uncertainty: rank intervals, groups that cannot be told apart.

Rows are compared on the images that all of them have, so a board in progress is compared on its finished blocks.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from purebench.results.results import DefenseResult
from purebench.statistics import Ranking
from purebench.statistics import rank as rank_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """A row's rank lies in low…high, for all rows of the board at once.

    letters: one for each group it belongs to; two rows that share a letter cannot be told apart. best: the probability
    of having the highest robust accuracy, over resampled images. images: on which all rows were compared.
    """

    low: int
    high: int
    letters: str
    best: float
    images: int

    @property
    def text(self) -> str:
        """The interval as one reads it: "2–5", or "2" where it is a point."""
        return f"{self.low}" if self.low == self.high else f"{self.low}–{self.high}"


@dataclass(frozen=True)
class Standing:
    """The places of the rows by name, compared on so many images.

    p_values: of "equally good", adjusted for all pairs. method: how they were made.
    """

    places: Mapping[str, Place]
    p_values: Mapping[tuple[str, str], float]
    images: int
    method: str
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the places by row, best first, and the adjusted p-values of the pairs."""
        return {
            "places": [{"defense": name, **asdict(place)} for name, place in self.places.items()],
            "p_values": [{"a": a, "b": b, "p": round(p, 10)} for (a, b), p in self.p_values.items()],
            "images": self.images,
            "method": self.method,
            "confidence": self.confidence,
        }


def standing(results: Sequence[DefenseResult]) -> Standing | None:
    """Where these rows stand; None where they share no image.

    results: of one board, best first, each with a robust accuracy. Where results decided where the run ended the
    p-values are those of bets, which hold at any time.
    """
    if not results:
        return None
    shared, values = on_shared_images(results)
    if not shared:
        return None
    first = results[0]
    found = rank_of(values, first.board["confidence"], seed=first.board["seed"], anytime=first.anytime)
    names = [result.name for result in results]
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    return Standing(
        places={name: _place(found, number) for number, name in enumerate(names)},
        p_values={(names[a], names[b]): found.p_values[a][b] for a, b in pairs},
        images=len(shared),
        method="holm, betting" if first.anytime else "romano-wolf, sign-flip and one-sided gaffke",
        confidence=found.confidence,
    )


def on_shared_images(results: Sequence[DefenseResult]) -> tuple[list[int], Floats]:
    """The images that all these rows have, in the order of the first, and how often each was right [rows, images].

    At the picked adversarial examples; images on which no attack applies are left out.
    """
    scores = [_scores(result) for result in results]
    shared = [image for image in results[0].images if all(image in score for score in scores)]
    values = np.array([[score[image] for image in shared] for score in scores], dtype=np.float64)
    return shared, values.reshape(len(results), len(shared))


def letter(number: int) -> str:
    """The name of a group: a, b, … z, A, … Z, then (53), (54), …"""
    letters = string.ascii_letters
    return letters[number] if number < len(letters) else f"({number + 1})"


def _scores(result: DefenseResult) -> dict[int, float]:
    """The share of right fresh draws at the picked adversarial example, by image."""
    return {image: float(v) for image, v in zip(result.images, result.scores(), strict=True) if not np.isnan(v)}


def _place(found: Ranking, row: int) -> Place:
    letters = "".join(letter(number) for number, group in enumerate(found.groups) if row in group)
    return Place(found.low[row], found.high[row], letters, found.best[row], found.n)
