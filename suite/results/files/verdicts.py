"""Records the verdicts about rows beside their results, and reads the badge of each row from them.

Each verdict about a row is a file of its own, `verdicts/<row>/<sha256 of the file>.json` in the folder of results, so
that verifications at the same time lose none. A verdict counts only for the result file that it was given for, by its
sha256, and only if it follows from its evidence. A file `verdicts/<row>.json` with several verdicts is an earlier form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import Line, StrictModel, from_json
from purebench.core.terminal_output import complain
from purebench.results.files.export import as_json, write_files
from purebench.results.files.verdict import Badge as Badge
from purebench.results.files.verdict import Verdict as Verdict
from purebench.results.files.verdict import contradiction
from purebench.results.results import DefenseResult

SCHEMA: Final = 1
VERDICTS = "verdicts"
"""Sub-folder of the folder of results."""
MOST_VERDICTS = 10_000


STRONGEST_LAST = (Badge.UNVERIFIED, Badge.UNDECIDED, Badge.REPRODUCED, Badge.VERIFIED, Badge.REFUTED)
"""Of several verdicts about one result file the last in this order counts, so that repeating a verification does not
remove a refutation."""


class RowVerdicts(StrictModel):
    """A file of verdicts about a row.

    Attributes:
        row: name of the row.
        verdicts: the verdict; several, the latest last, in a file of the earlier form.
        schema_version: version of this schema.
    """

    row: Line
    verdicts: Annotated[list[Verdict], Field(max_length=MOST_VERDICTS)]
    schema_version: Literal[1] = Field(SCHEMA, alias="schema")


@dataclass(frozen=True)
class RowBadge:
    """The badge of a row as pages show it.

    Attributes:
        badge: the badge of the result that is shown.
        verdict: the verdict behind it; None if the row is unverified.
        versions: the number of different result files of the row that were submitted: those with a verdict, and the one
            that is shown.
        refuted_versions: how many of them were refuted.
        contradictory: the number of verdicts about this result file that do not follow from their evidence, and do not
            count.
        undecided: the number of other verdicts about this result file that are undecided.
    """

    badge: Badge = Badge.UNVERIFIED
    verdict: Verdict | None = None
    versions: int = 1
    refuted_versions: int = 0
    contradictory: int = 0
    undecided: int = 0


def result_hash(result: DefenseResult) -> str:
    """Return the sha256 of the result as a file (`export_results`)."""
    return hashlib.sha256(as_json(result.to_dict()).encode()).hexdigest()


def load_badges(folder: Path | None, results: Iterable[DefenseResult]) -> dict[str, RowBadge]:
    """Return the badge of each row; rows without a verdict about their result file are unverified.

    Args:
        folder: the folder of results; None if there is none, so that no row is verified.
        results: the results that are shown.

    Raises:
        PurebenchError: a file of verdicts is not one of this version.
    """
    return {one.name: _badge(one, [] if folder is None else load_verdicts(folder, one.name)) for one in results}


def load_verdicts(folder: Path, row: str) -> list[Verdict]:
    """Return all verdicts about a row, the latest last; [] if there are none.

    Args:
        folder: the folder of results.
        row: the name of the row.

    Raises:
        PurebenchError: the file is not one of this version, or is that of another row.
    """
    place = folder / VERDICTS / row
    earlier = folder / VERDICTS / f"{row}.json"
    found = _read(earlier, row) if earlier.is_file() else []
    new = [(one.day, path.name, one) for path in sorted(place.glob("*.json")) for one in _recorded(path, row)]
    return found + [one for _, _, one in sorted(new, key=lambda one: one[:2])]


def _recorded(path: Path, row: str) -> list[Verdict]:
    found = _read(path, row)
    if path.stem != _sha256(path):
        raise PurebenchError(
            f"{path}: expected the verdict whose sha256 is the name of the file, but its content was changed; restore "
            "it, or remove it and verify the row again."
        )
    return found


def _read(path: Path, row: str) -> list[Verdict]:
    try:
        found = from_json(RowVerdicts, read_text(path, MOST_BYTES), version=SCHEMA, cure="verify the row again")
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected verdicts about a row, but: {error}") from error
    if found.row != row:
        raise PurebenchError(f"{path}: expected verdicts about {row!r}, but they are about {found.row!r}; rename it.")
    return found.verdicts


def record_verdict(folder: Path, row: str, verdict: Verdict, *, beside: bool = True) -> Path:
    """Add a verdict to those about a row.

    Args:
        folder: the folder of results.
        row: the name of the row.
        verdict: the verdict.
        beside: whether the folder must contain the result file that the verdict is about; a refuted result is not
            published, and its verdict is kept all the same.

    Returns:
        The file of the verdict.

    Raises:
        PurebenchError: the verdict does not follow from its evidence, the folder has another result of the row, or
            none, or the file cannot be written.
    """
    if told := contradiction(verdict):
        raise PurebenchError(f"{row}: expected a verdict that follows from its evidence, but {told}.")
    if beside:
        check_published(folder, row, verdict.result)
    text = as_json(RowVerdicts(row=row, verdicts=[verdict], schema=1).model_dump(mode="json", by_alias=True))
    place = folder / VERDICTS / row / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    write_files({place: text})
    return place


def check_published(folder: Path, row: str, result: str) -> None:
    """Check that a folder of results has the result file of a row with this hash.

    Args:
        folder: the folder of results.
        row: the name of the row.
        result: sha256 of the result file.

    Raises:
        PurebenchError: the folder has another result of the row, or none.
    """
    path = folder / f"{row}.json"
    try:
        found = _sha256(path)
    except OSError as error:
        raise PurebenchError(
            f"{path}: expected the result of the row, but it cannot be read ({error.strerror}); name the folder of "
            "results that the row is published in."
        ) from error
    if found != result:
        raise PurebenchError(
            f"{path}: expected the result of the bundle (sha256 {result[:12]}…), but the file is another one "
            f"({found[:12]}…); export the result of the bundle there first (purebench run BOARD --results FOLDER)."
        )


def _badge(result: DefenseResult, verdicts: list[Verdict]) -> RowBadge:
    if not verdicts:
        return RowBadge()
    own = result_hash(result)
    those = [one for one in verdicts if one.result == own]
    told = [told for one in those if (told := contradiction(one, result))]
    complain(f"{result.name}: a verdict does not follow from its evidence and does not count: {one}" for one in told)
    good = [one for one in verdicts if not contradiction(one, result if one.result == own else None)]
    counted = [one for one in good if one.result == own]
    best = max(reversed(counted), key=lambda one: STRONGEST_LAST.index(one.badge), default=None)
    refuted = {one.result for one in good if one.badge is Badge.REFUTED}
    versions = len({own, *(one.result for one in verdicts)})
    badge = Badge.UNVERIFIED if best is None else best.badge
    undecided = sum(one.badge is Badge.UNDECIDED for one in counted if one is not best)
    return RowBadge(badge, best, versions, len(refuted), len(told), undecided)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
