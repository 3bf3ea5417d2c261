"""Reads the ranks that `export_results` wrote, if they are those of the results beside them.

Comparing all pairs of hundreds of rows takes minutes, and the file has the comparisons. A board of fewer rows takes
seconds, so that its ranks are always computed: a file can be edited.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import with_config
from typing_extensions import TypedDict  # Python 3.11's own is refused by pydantic

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES, load_json
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import STRICT, Fraction, StrictModel, Whole, from_plain
from purebench.core.seeds import hash_of
from purebench.results.files.export import RANKS
from purebench.results.ranking.standing import RankInterval, Standing, on_shared_images, scores_hash, standing
from purebench.results.results import DefenseResult
from purebench.statistics.ranking.ranks import rank_intervals

COMPUTED = 100
"""Ranks of fewer rows than this are computed, in about 2 seconds, whatever the file says."""


class _Place(StrictModel):
    defense: str
    low: Whole
    high: Whole
    letters: str
    best: Fraction
    images: Whole


@with_config(STRICT)
class _PValue(TypedDict):  # a dictionary, because there are a hundred thousand of them
    a: str
    b: str
    p: Fraction


class _Ranks(StrictModel):
    places: list[_Place]
    p_values: list[_PValue]
    images: Whole
    method: str
    confidence: Fraction
    scores: str
    content: str


def stored_standing(folder: Path, results: Sequence[DefenseResult], *, compute: bool = False) -> Standing | None:
    """Return the standing of a folder's rows: computed, or for hundreds of rows that of its `ranks.json` if it fits.

    The file fits if its hashes match these results and its own content. Its rank intervals are checked against its
    p-values; its p-values, letters and probabilities are not computed again.

    Args:
        folder: the folder of results.
        results: its results that have a rank, best first.
        compute: whether the file is not used.

    Raises:
        PurebenchError: the file claims to be of these results, but does not match the schema or names other rows.
    """
    path = folder / RANKS
    if compute or len(results) < COMPUTED or not path.is_file():
        return standing(results)
    plain = load_json(read_text(path, MOST_BYTES))
    if not isinstance(plain, dict) or plain.get("scores") != scores_hash(results):
        return standing(results)
    told = {key: value for key, value in plain.items() if key not in ("scores", "content")}
    if plain.get("content") != hash_of(told):
        return standing(results)
    return _standing(path, plain, results)


def _standing(path: Path, plain: dict[str, Any], results: Sequence[DefenseResult]) -> Standing:
    names = [result.name for result in results]
    try:
        found = from_plain(_Ranks, plain)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected the ranks of these results, but: {error} Delete the file.") from error
    pairs = {(one["a"], one["b"]): one["p"] for one in found.p_values}
    if [place.defense for place in found.places] != list(names) or list(pairs) != list(combinations(names, 2)):
        raise PurebenchError(f"{path}: expected the ranks of the rows of this folder, but got others; delete the file.")
    places = {
        place.defense: RankInterval(place.low, place.high, place.letters, place.best, place.images)
        for place in found.places
    }
    _, values = on_shared_images(results)
    p = np.ones((len(names), len(names)))
    upper = np.triu_indices(len(names), 1)
    p[upper] = p.T[upper] = list(pairs.values())
    low, high = rank_intervals(p, values.mean(axis=1), found.confidence)
    for place, best, worst in zip(found.places, low, high, strict=True):
        if (place.low, place.high) != (best, worst):
            raise PurebenchError(
                f"{path}: expected the ranks {best} to {worst} of {place.defense}, which its p-values give, but got "
                f"{place.low} to {place.high}; delete the file."
            )
    return Standing(places, pairs, found.images, found.method, found.confidence, computed=False)
