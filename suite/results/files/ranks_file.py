"""Reads the ranks that `export_results` wrote, if they are those of the results beside them.

Comparing all pairs of hundreds of rows takes minutes, and the file has the comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, with_config
from typing_extensions import TypedDict  # Python 3.11's own is refused by pydantic

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES, load_json
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import STRICT, StrictModel, Whole, from_plain
from purebench.results.files.export import RANKS
from purebench.results.ranking.standing import RankInterval, Standing, scores_hash, standing
from purebench.results.results import DefenseResult

Share = Annotated[float, Field(ge=0, le=1)]


class _Place(StrictModel):
    defense: str
    low: Whole
    high: Whole
    letters: str
    best: Share
    images: Whole


@with_config(STRICT)
class _PValue(TypedDict):  # a dictionary, because there are a hundred thousand of them
    a: str
    b: str
    p: Share


class _Ranks(StrictModel):
    places: list[_Place]
    p_values: list[_PValue]
    images: Whole
    method: str
    confidence: Share
    scores: str


def stored_standing(folder: Path, results: Sequence[DefenseResult]) -> Standing | None:
    """Return the standing of a folder's rows: the one in its `ranks.json`, or computed if that is missing or of others.

    Args:
        folder: the folder of results.
        results: its results that have a rank, best first.

    Raises:
        PurebenchError: the file claims to be of these results, but does not match the schema or names other rows.
    """
    path = folder / RANKS
    if not results or not path.is_file():
        return standing(results)
    plain = load_json(read_text(path, MOST_BYTES))
    if not isinstance(plain, dict) or plain.get("scores") != scores_hash(results):
        return standing(results)
    return _standing(path, plain, [result.name for result in results])


def _standing(path: Path, plain: dict[str, Any], names: Sequence[str]) -> Standing:
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
    return Standing(places, pairs, found.images, found.method, found.confidence)
