"""Texts of the badges: whether the rows were verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from purebench.results.files.verdicts import Badge, RowBadge
from purebench.results.ranking.rank import Row

UNVERIFIED = RowBadge()
MOST_NAMED = 5
"""Most unverified rows that are named."""


def verification_text(rows: Sequence[Row], badges: Mapping[str, RowBadge]) -> str:
    """Return the badges of all rows in a sentence, such as "verification: trades verified; none, vae unverified".

    Args:
        rows: the rows.
        badges: their badges; rows without an entry are unverified.
    """
    by_badge: dict[Badge, list[str]] = {}
    for row in rows:
        by_badge.setdefault(badges.get(row.name, UNVERIFIED).badge, []).append(row.name)
    if list(by_badge) == [Badge.UNVERIFIED]:
        return (
            f"verification: {'the row is' if len(rows) == 1 else 'all rows are'} {Badge.UNVERIFIED} (purebench verify)"
        )
    parts = [f"{_named(by_badge[badge])} {badge}" for badge in Badge if badge in by_badge]
    return f"verification: {'; '.join(parts)}"


def badge_text(found: RowBadge) -> str:
    """Return the badge of a row, with the number of versions that were submitted if there are several.

    >>> badge_text(RowBadge(Badge.VERIFIED, versions=3, refuted_versions=1))
    'verified (3 versions submitted, 1 of them refuted)'
    """
    if found.contradictory:
        these = "a verdict does" if found.contradictory == 1 else f"{found.contradictory} verdicts do"
        return f"{badge_text(replace(found, contradictory=0))}; {these} not follow from the evidence"
    if found.versions == 1:
        return found.badge.value
    refuted = f", {found.refuted_versions} of them refuted" if found.refuted_versions else ""
    return f"{found.badge} ({found.versions} versions submitted{refuted})"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
