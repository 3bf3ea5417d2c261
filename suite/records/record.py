"""What a job found, image by image, and its JSON (`record_checks` says when a record contradicts itself)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict

from purebench.core.files.versioned_model import (
    STRICT,
    Base64,
    BlockList,
    Distance,
    DrawString,
    Line,
    Plain,
    Position,
    Text,
    Whole,
    from_json,
)
from purebench.core.warning_codes import ResultWarning

SCHEMA: Final = 1
"""The version of the schema of records."""
CURE = "run the board again into another store (--store)"

WORST_CASE = "worst-case"
"""What the record of a worst-case job has in the place of an attack's name; no attack of a board may have it."""


class Outcome(StrEnum):
    """What became of an image under an attack, decided by verification alone.

    ROBUST: more than half of the verification draws were right. MISCLASSIFIED: the others. ERRORED: the attack or the
    defense failed (never counted as robust). SKIPPED: the attack does not apply to this defense.
    """

    ROBUST = "robust"
    MISCLASSIFIED = "misclassified"
    ERRORED = "errored"
    SKIPPED = "skipped"


ANSWERED = (Outcome.ROBUST, Outcome.MISCLASSIFIED)
"""Outcomes of images about which the defense answered."""


@dataclass(frozen=True)
class Picture:
    """One image of a job to look at; pictures are PNG files in base64."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    image: Position
    label: Position
    adversarial: Base64
    purified: Base64
    predicted: Position


@dataclass(frozen=True)
class Record:
    """One job's result. All but `seconds` is decided by the key on one machine.

    The record of a worst-case job has the attack `WORST_CASE`; its draws are the fresh ones at the picked adversarial
    examples, and `picked` names the attack that each came from, None where none applied (empty for attack jobs).

    images: the images' positions in the dataset; labels: their true classes; outcomes: one an image; draws: one an
    image, a string of 1 (right) and 0 (wrong), one character a verification draw, empty where there was none;
    distances: norm of the perturbation in the threat's norm, None where there is none; nearest: of a minimum-norm
    attack, the distance at which the defense was wrong on most verification draws, None where it found no such point
    (empty for other attacks); claims: the attack's own verdict, 1 where it thinks the defense broken, 0 where not,
    None where it was not asked (empty where it has no verdict); certified: of a certificate, the radius in the threat's
    norm within which the answer is proven right, None where it is wrong or nothing was proven (empty for attacks);
    reasons: why an image is ERRORED or SKIPPED, one an image, "" for the others (empty where there is none at all);
    notes: what a reader must know, such as a correction; warnings: why its accuracy may be too high, or must be read
    with care; forwards, backwards: images passed through the defense by
    attack and verification; provenance: versions and hashes; seconds: wall time of the phases; schema: the version of
    this schema.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    key: Line
    board: Line
    defense: Line
    attack: Line
    block: Position
    images: BlockList[Position]
    labels: BlockList[Position]
    outcomes: BlockList[Outcome]
    draws: BlockList[DrawString]
    distances: BlockList[Distance | None]
    nearest: BlockList[Distance | None] = field(default_factory=list)
    claims: BlockList[Literal[0, 1] | None] = field(default_factory=list)
    certified: BlockList[Distance | None] = field(default_factory=list)
    picked: BlockList[Line | None] = field(default_factory=list)
    reasons: BlockList[Text] = field(default_factory=list)
    notes: BlockList[Text] = field(default_factory=list)
    warnings: BlockList[ResultWarning] = field(default_factory=list)
    forwards: Whole = 0
    backwards: Whole = 0
    pictures: BlockList[Picture] = field(default_factory=list)
    provenance: dict[str, Plain] = field(default_factory=dict)
    seconds: dict[str, Distance] = field(default_factory=dict)
    schema: Literal[1] = SCHEMA

    @property
    def reason(self) -> str:
        """The distinct reasons of all images, joined."""
        return "; ".join(dict.fromkeys(reason for reason in self.reasons if reason))

    def to_json(self) -> str:
        """The record as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that `to_json` wrote.

        Raises:
            PurebenchError: it is of another version, breaks the schema, or contradicts itself.
        """
        from purebench.records.validation import check_record

        record = from_json(cls, text, version=SCHEMA, cure=CURE)
        check_record(record)
        return record

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record of which `asdict` gave this; raises PurebenchError as `from_json` does."""
        return cls.from_json(json.dumps(data))
