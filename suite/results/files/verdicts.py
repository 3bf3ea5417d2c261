"""Records the verdicts about rows beside their results, and reads the badge of each row from them.

The verdicts of a row are in `verdicts/<row>.json` in the folder of results, the latest last. A verdict counts only for
the result file that it was given for, by its sha256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import Line, StrictModel, Text, Whole, from_json
from purebench.results.files.export import as_json, write_files
from purebench.results.results import DefenseResult

SCHEMA: Final = 1
VERDICTS = "verdicts"
"""Sub-folder of the folder of results."""
MOST_VERDICTS = 10_000


class Badge(StrEnum):
    """What is known about the reproduction of a row; the value is its text on every surface.

    Attributes:
        VERIFIED: the accuracies were reproduced, and repeated attacks broke no more images than allowed.
        REPRODUCED: the accuracies were reproduced, and the attacks were not repeated.
        UNDECIDED: a verification could neither confirm nor refute the row.
        REFUTED: a verification refuted the row.
        UNVERIFIED: no verdict about this result file.
    """

    VERIFIED = "verified"
    REPRODUCED = "examples reproduced, attacks not re-run"
    UNDECIDED = "undecided"
    REFUTED = "refuted"
    UNVERIFIED = "unverified"


STRONGEST_LAST = (Badge.UNVERIFIED, Badge.UNDECIDED, Badge.REPRODUCED, Badge.VERIFIED, Badge.REFUTED)
"""Of several verdicts about one result file the last in this order counts: a refuted one is not repeated until it
passes."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(ge=-1, le=1)]


class Claim(StrictModel):
    """A test of one claim; the fields are those of `statistics.reproduction.ClaimTest`."""

    name: Line
    claimed: Finite
    found: Finite
    p_value: Finite
    bound: Finite
    margin: Finite
    images: Whole


class Verdict(StrictModel):
    """A verdict about one result file.

    Attributes:
        badge: the verdict.
        result: sha256 of the result file.
        bundle: sha256 of the bundle.
        seed: seed of the verifier.
        attacked: number of images on which the attacks were repeated, 0 if they were not.
        broken: positions in the data set of the images claimed robust that the repeated attacks broke.
        claims: the tests.
        remarks: further findings, such as other weights.
        purebench: version of purebench of the verifier.
        day: day of the verification in UTC, such as 2026-01-31.
    """

    badge: Badge = Field(strict=False)
    result: Hash
    bundle: Hash
    seed: Whole
    attacked: Whole
    broken: list[Whole]
    claims: list[Claim]
    remarks: list[Text]
    purebench: Line
    day: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]


class RowVerdicts(StrictModel):
    """All verdicts about a row.

    Attributes:
        row: name of the row.
        verdicts: the verdicts, the latest last.
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
    """

    badge: Badge = Badge.UNVERIFIED
    verdict: Verdict | None = None
    versions: int = 1
    refuted_versions: int = 0


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
    path = folder / VERDICTS / f"{row}.json"
    if not path.is_file():
        return []
    try:
        found = from_json(RowVerdicts, read_text(path, MOST_BYTES), version=SCHEMA, cure="verify the row again")
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected verdicts about a row, but: {error}") from error
    if found.row != row:
        raise PurebenchError(f"{path}: expected verdicts about {row!r}, but they are about {found.row!r}; rename it.")
    return found.verdicts


def record_verdict(folder: Path, row: str, verdict: Verdict) -> Path:
    """Add a verdict to those about a row.

    Args:
        folder: the folder of results, which must contain the result file that the verdict is about.
        row: the name of the row.
        verdict: the verdict.

    Returns:
        The file of verdicts.

    Raises:
        PurebenchError: the folder has another result of the row, or none, or the file cannot be written.
    """
    check_published(folder, row, verdict.result)
    whole = RowVerdicts(row=row, verdicts=[*load_verdicts(folder, row), verdict], schema=1)
    place = folder / VERDICTS / f"{row}.json"
    write_files({place: as_json(whole.model_dump(mode="json", by_alias=True))})
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
        found = hashlib.sha256(path.read_bytes()).hexdigest()
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
    best = max(reversed(those), key=lambda one: STRONGEST_LAST.index(one.badge), default=None)
    refuted = {one.result for one in verdicts if one.badge is Badge.REFUTED}
    versions = len({own, *(one.result for one in verdicts)})
    return RowBadge(Badge.UNVERIFIED if best is None else best.badge, best, versions, len(refuted))
