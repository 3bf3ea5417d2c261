"""Rows as a pandas DataFrame; the extra `notebook` installs pandas."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import pandas as pd

from purebench.leaderboards.badge_text import shown_badge
from purebench.leaderboards.figures_text import attack_columns
from purebench.results.errored import errors_of
from purebench.results.figures.passes import passes_per_image
from purebench.results.ranking.rank import Row
from purebench.statistics import Estimate


def of_defenses(rows: Sequence[Row]) -> pd.DataFrame:
    """Return a table with a line for each defense, best first.

    `grade` is the letter of the evaluation. `robust`, `best_known`, `clean` and `certified` are fractions, with the
    ends of their intervals in columns beside them. rank, accuracies and strongest are missing where nothing is known.
    `warnings` has the codes of the reasons why the robust accuracy may be too high, and `warning_text` the reasons in
    words. `verification` is "unverified", because the rows of a report are those of an evaluation on this machine.

    Args:
        rows: In the order of their ranks.

    Returns:
        The table.
    """
    return pd.DataFrame(
        [
            {
                "defense": row.name,
                "grade": None if row.grade is None else str(row.grade.letter),
                "rank": row.rank,
                **_columns("robust", row.robust),
                **_columns("best_known", row.best_known),
                **_columns("clean", row.clean),
                **_columns("certified", row.certified),
                "strongest": row.strongest,
                "random": row.random,
                "images": len(row.result.images),
                "draws": row.result.draws,
                "confidence": row.result.board["confidence"],
                "method": row.robust.method if row.robust else None,
                "errored": row.errored,
                "warnings": ", ".join(warning.code for warning in row.warnings),
                "warning_text": "; ".join(warning.sentence for warning in row.warnings),
                "purifier_passes_per_image": passes_per_image(row.result).total,
                "seconds": row.cost.seconds,
                "verification": shown_badge(row.name, None),
            }
            for row in rows
        ]
    ).astype({"rank": "Int64"} if rows else {})


def of_attacks(rows: Sequence[Row]) -> pd.DataFrame:
    """Return a table with a line for each attack on each defense.

    `accuracy` is missing where the attack was SKIPPED or failed; `reason` says why.

    Args:
        rows: In the order of their ranks.

    Returns:
        The table.
    """
    return pd.DataFrame(
        [
            {
                "defense": row.name,
                "attack": cell.attack,
                "gradient": attack.gradient,
                "eot": attack.eot,
                **_columns("accuracy", None if cell.failed else cell.estimate),
                "errored": cell.errored,
                "median_distance": attack.median_distance,
                "forwards": attack.forwards,
                "backwards": attack.backwards,
                **{name: nan if value is None else value for name, value in attack_columns(row.result, attack).items()},
                "seconds": sum(attack.seconds.values()),
                "warnings": ", ".join(warning.code for warning in attack.warnings),
                "reason": "; ".join([*(str(error) for error in errors_of([attack])), *attack.skips]),
            }
            for row in rows
            for cell, attack in zip(row.cells, row.result.attacks, strict=True)
        ]
    )


def _columns(name: str, estimate: Estimate | None) -> dict[str, Any]:
    """Return an estimate as three columns."""
    if estimate is None:
        return {name: nan, f"{name}_low": nan, f"{name}_high": nan}
    return {name: float(estimate.value), f"{name}_low": float(estimate.low), f"{name}_high": float(estimate.high)}
