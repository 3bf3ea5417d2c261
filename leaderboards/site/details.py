"""The data of one row that its views load on demand: outcomes by image and attack, and its comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from purebench.records.outcome import Outcome
from purebench.results.ranking.rank import Row
from purebench.results.ranking.standing import Standing
from purebench.results.results import DefenseResult

LETTERS = {Outcome.ROBUST: "r", Outcome.MISCLASSIFIED: "m", Outcome.ERRORED: "e", Outcome.SKIPPED: "s"}
"""One letter for each outcome, so that the outcomes of an attack are one string."""


def row_details(row: Row, p_values: Sequence[float | None]) -> dict[str, Any]:
    """Return the outcomes of a row and its comparisons with the other rows.

    The result has the images (positions in the data set) with their labels; a letter for each outcome, and the number
    of right verification draws, by attack; the right fresh draws at the picked adversarial examples, -1 where there is
    no score; and the p-values of all pairs with the other rows, adjusted for one another.

    Args:
        row: the row.
        p_values: the adjusted p-values of its pairs, in the order of the board's rows; [] without any.
    """
    result = row.result
    return {
        "name": row.name,
        "images": list(result.images),
        "labels": list(result.labels),
        "draws": result.draws,
        "fresh_draws": result.fresh_draws,
        "picked": [name or "" for name in result.worst_case.picked],
        "fresh": _fresh(result),
        "attacks": {
            attack.name: {
                "outcomes": "".join(LETTERS[one] for one in attack.outcomes),
                "right": [int(count) for count in np.count_nonzero(result.right(attack), axis=1)],
            }
            for attack in result.attacks
        },
        "p_values": list(p_values),
    }


def _fresh(result: DefenseResult) -> list[int]:
    """Return the number of right fresh draws at the pick of each image; -1 where the score is not known."""
    known = result.scored & ~result.doubtful
    return [int(count) if some else -1 for count, some in zip(result.fresh.sum(axis=1), known, strict=True)]


def p_values_by_row(standing: Standing | None, names: Sequence[str]) -> dict[str, list[float | None]]:
    """Return the adjusted p-values of each row with all rows, None where there is none; {} if rows cannot be compared.

    They are rounded to four digits, unless this would change whether two rows differ significantly.

    Args:
        standing: the comparisons.
        names: the rows of the board, in the order of the lists.
    """
    if standing is None:
        return {}
    place = {name: number for number, name in enumerate(names)}
    every = set(standing.p_values.values())
    found: dict[str, list[float | None]] = {name: [None] * len(names) for name in names}
    level = 1 - standing.confidence + 1e-12
    rounded = {p: short if ((short := float(f"{p:.4g}")) <= level) == (p <= level) else p for p in every}
    for (a, b), p in standing.p_values.items():
        found[a][place[b]] = found[b][place[a]] = rounded[p]
    return found
