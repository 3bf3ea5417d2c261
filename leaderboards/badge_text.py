"""Texts of the badges: whether the rows were verified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from purebench.results.files.verdicts import Badge, RowBadge
from purebench.results.ranking.rank import Row

UNVERIFIED = RowBadge()
MOST_NAMED = 20
"""Most rows of a badge that are named."""


def verification_text(rows: Sequence[Row], badges: Mapping[str, RowBadge]) -> str:
    """Return the badges of all rows in a sentence, such as "verification: vae verified; the other 8 rows unverified".

    Rows are named, except for those of the most frequent badge.

    Args:
        rows: the rows.
        badges: their badges; rows without an entry are unverified.
    """
    by_badge: dict[Badge, list[str]] = {}
    for row in rows:
        by_badge.setdefault(badges.get(row.name, UNVERIFIED).badge, []).append(row.name)
    if len(by_badge) <= 1:
        (badge,) = by_badge or (Badge.UNVERIFIED,)
        cure = " (purebench verify)" if badge is Badge.UNVERIFIED else ""
        return f"verification: {'the row is' if len(rows) == 1 else 'all rows are'} {badge}{cure}"
    most = max(by_badge, key=lambda badge: (len(by_badge[badge]), badge is Badge.UNVERIFIED))
    told = {badge: _named(names) for badge, names in by_badge.items()}
    if len(by_badge[most]) > 1:
        told[most] = f"the other {len(by_badge[most])} rows"
    last = [badge for badge in Badge if badge is not most and badge in told] + [most]
    return f"verification: {'; '.join(f'{told[badge]} {badge}' for badge in last)}"


def shown_badge(row: str, badges: Mapping[str, RowBadge] | None) -> str:
    """Return the badge of a row as every table, page and file shows it.

    Args:
        row: the name of the row.
        badges: what is known about the verification of rows (`load_badges`); rows without an entry are unverified.

    >>> shown_badge("trades", None)
    'unverified'
    """
    return badge_text((badges or {}).get(row, UNVERIFIED))


def badge_text(found: RowBadge) -> str:
    """Return the badge of a row, with the numbers of undecided verifications and of several submitted versions.

    >>> badge_text(RowBadge(Badge.VERIFIED, versions=3, refuted_versions=1))
    'verified (3 versions submitted, 1 of them refuted)'
    >>> badge_text(RowBadge(Badge.VERIFIED, undecided=2))
    'verified (2 verifications undecided)'
    """
    if found.contradictory:
        these = "a verdict does" if found.contradictory == 1 else f"{found.contradictory} verdicts do"
        return f"{badge_text(replace(found, contradictory=0))}; {these} not follow from the evidence"
    told = []
    if found.undecided:
        other = "other " if found.badge is Badge.UNDECIDED else ""
        told.append(f"{found.undecided} {other}verification{'s' if found.undecided > 1 else ''} undecided")
    if found.versions > 1:
        refuted = f", {found.refuted_versions} of them refuted" if found.refuted_versions else ""
        told.append(f"{found.versions} versions submitted{refuted}")
    return f"{found.badge} ({'; '.join(told)})" if told else found.badge.value


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
