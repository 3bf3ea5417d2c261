"""What a job found, image by image, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from purebench.warning_codes import ResultWarning


class Outcome(StrEnum):
    """What became of an image under an attack, decided by verification alone.

    HELD: more than half of the verification draws were right. BROKEN: the others. ERRORED: the attack or the defense
    failed (never counted as robust). SKIPPED: the attack does not apply to this defense.
    """

    HELD = "held"
    BROKEN = "broken"
    ERRORED = "errored"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Picture:
    """One image of a job to look at; pictures are PNG files in base64."""

    image: int
    label: int
    adversarial: str
    purified: str
    predicted: int


@dataclass(frozen=True)
class Record:
    """One job's result. All but `seconds` is decided by the key on one machine.

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
    attack and verification; provenance: versions and hashes; seconds: wall time of the phases.
    """

    key: str
    board: str
    defense: str
    attack: str
    block: int
    images: list[int]
    labels: list[int]
    outcomes: list[Outcome]
    draws: list[str]
    distances: list[float | None]
    nearest: list[float | None] = field(default_factory=list)
    claims: list[int | None] = field(default_factory=list)
    certified: list[float | None] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[ResultWarning] = field(default_factory=list)
    forwards: int = 0
    backwards: int = 0
    pictures: list[Picture] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The distinct reasons of all images, joined."""
        return "; ".join(dict.fromkeys(reason for reason in self.reasons if reason))

    def to_json(self) -> str:
        """The record as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """The record that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record of which `asdict` gave this."""
        fields = dict(data)
        fields["outcomes"] = [Outcome(value) for value in fields["outcomes"]]
        fields["warnings"] = [ResultWarning.from_dict(value) for value in fields.get("warnings", [])]
        fields["pictures"] = [Picture(**value) for value in fields["pictures"]]
        return cls(**fields)
