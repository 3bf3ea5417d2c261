"""Defines the record of a job, image by image, and its JSON (`records.validation` checks that it is consistent)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final, Literal

from pydantic import ConfigDict

from purebench.core.answers import ControlFacts, ImageTruth, LookCount
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
from purebench.records.outcome import ANSWERED, Outcome
from purebench.records.stored_json import read_record
from purebench.records.validation import check_record

SCHEMA: Final = 1
"""Version of the schema of records."""
CURE = "run the board again into another store (--store)"


@dataclass(frozen=True)
class Picture:
    """One image of a job for display; pictures are PNG files in base64.

    Attributes:
        image: Position of the image in the data set.
        label: Its true class.
        adversarial: The adversarial example.
        purified: The purified adversarial example; of several votes, the first.
        predicted: The class that the defense predicts for the adversarial example.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    image: Position
    label: Position
    adversarial: Base64
    purified: Base64
    predicted: Position


@dataclass(frozen=True)
class ImageOutcome:
    """The contents of a record for one image.

    Attributes:
        image: Position of the image in the data set.
        label: Its true class.
        outcome: Its outcome.
        attack: The attack of its adversarial example; of a worst-case job the picked one, "" where none applied.
    """

    image: int
    label: int
    outcome: Outcome
    attack: str


@dataclass(frozen=True)
class Record:
    """Result of one job. On one machine the key decides everything except `seconds`.

    The record of a worst-case job has the attack `WORST_CASE` or `BEST_KNOWN`; its draws are the fresh ones at the
    picked adversarial examples, and `picked` names the attack that each came from.

    Attributes:
        key: Key of the job.
        board: Name of the board.
        defense: Name of the defense on the board.
        attack: Name of the attack on the board, or one of `PICKED`.
        block: Number of the block.
        images: Positions of the images in the data set.
        labels: True class of each image.
        outcomes: Outcome of each image.
        draws: For each image a string of 1 (right) and 0 (wrong), one character per verification draw; empty where
            there was none.
        distances: Norm of each perturbation in the threat model's norm; None where there is no perturbation.
        nearest: Of a minimum-norm attack, the distance of the attack's own point, before projection, if at most half of
            the verification draws are right there; else None. Empty for other attacks.
        claims: The attack's own verdict: 1 where it considers the defense broken, 0 where not, None where it was not
            asked. Empty if the attack has no verdict.
        certified: Of a certificate, the radius in the threat model's norm within which the answer is proven right, None
            where it is wrong or nothing was proven. Empty for attacks.
        known_right: Of an attack with known randomness, under how many of the `known_seeds` seeds the frozen defense
            was right at the point found for it, None where it was not attacked. Empty for other attacks.
        known_seeds: The number of these seeds, 0 for other attacks.
        looks: What the attack saw at each image of a random defense, None where it was not attacked. Empty unless the
            board has the looks of this attack counted.
        clean_looks: The same of equally many looks at the clean image.
        truth: Of a control, the known probability of a right answer at the worst point of each image, None for images
            on which it is not scored. Empty for attacks.
        control: What is known of the control; None for attacks.
        picked: Of a worst-case job, the attack that each adversarial example came from, None where none applied. Empty
            for attack jobs.
        reasons: Reason for each image that is ERRORED or SKIPPED, "" for the others. Empty if there is no such image.
        notes: Notes for readers, such as that the attack's images were corrected (clipped to [0,1], or projected
            because of rounding) before verification.
        warnings: Warnings that the accuracy may be too high, or must be read with care.
        forwards: Images passed forward through the defense by attack, counters and verification; of a worst-case job,
            by picking and scoring.
        backwards: Images passed backward through the defense by the attack.
        pictures: Images for display.
        provenance: Versions and hashes.
        seconds: Wall time of each phase.
        schema: Version of this schema.
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
    known_right: BlockList[Whole | None] = field(default_factory=list)
    known_seeds: Whole = 0
    looks: BlockList[LookCount | None] = field(default_factory=list)
    clean_looks: BlockList[LookCount | None] = field(default_factory=list)
    truth: BlockList[ImageTruth | None] = field(default_factory=list)
    control: ControlFacts | None = None
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
    def by_image(self) -> list[ImageOutcome]:
        """Position, label, outcome and attack of each image."""
        attacks = [name or "" for name in self.picked] if self.picked else [self.attack] * len(self.images)
        columns = zip(self.images, self.labels, self.outcomes, attacks, strict=True)
        return [ImageOutcome(*values) for values in columns]

    @property
    def shares(self) -> list[float | None]:
        """Share of right draws of each image: 0 where it is ERRORED, None where it is SKIPPED."""
        return [
            None if outcome is Outcome.SKIPPED else draws.count("1") / max(1, len(draws))
            for outcome, draws in zip(self.outcomes, self.draws, strict=True)
        ]

    @property
    def errored_rows(self) -> set[int]:
        """The rows of the images that are ERRORED."""
        return {row for row, outcome in enumerate(self.outcomes) if outcome is Outcome.ERRORED}

    @property
    def robust(self) -> list[bool]:
        """Whether each image is ROBUST."""
        return [outcome is Outcome.ROBUST for outcome in self.outcomes]

    @property
    def correct(self) -> list[list[bool]]:
        """Whether each draw of each image was right, as [images][draws]."""
        return [[draw == "1" for draw in draws] for draws in self.draws]

    @property
    def broken(self) -> int:
        """The number of images that are MISCLASSIFIED."""
        return self.outcomes.count(Outcome.MISCLASSIFIED)

    @property
    def warning_sentences(self) -> list[str]:
        """The sentence of each warning."""
        return [warning.sentence for warning in self.warnings]

    @property
    def data_hash(self) -> Plain:
        """The hash of the data set, None if the record does not state it."""
        return self.provenance.get("data")

    def covered_by(self, images: Collection[int]) -> bool:
        """Return whether all images of the record are among these positions in the data set."""
        return set(self.images) <= set(images)

    @property
    def passes(self) -> tuple[int, int]:
        """The images passed forward and backward through the defense."""
        return self.forwards, self.backwards

    @property
    def wall_time(self) -> float:
        """Wall time of all phases, in seconds."""
        return sum(self.seconds.values())

    @property
    def failure(self) -> str | None:
        """The reasons if the first image is ERRORED or SKIPPED; None if it was answered."""
        return None if self.outcomes[0] in ANSWERED else self.reason

    @property
    def errored(self) -> bool:
        """True if an image is ERRORED."""
        return Outcome.ERRORED in self.outcomes

    @property
    def skipped(self) -> bool:
        """True if every image is SKIPPED."""
        return all(outcome is Outcome.SKIPPED for outcome in self.outcomes)

    @property
    def reason(self) -> str:
        """The distinct reasons of all images, joined."""
        return "; ".join(dict.fromkeys(reason for reason in self.reasons if reason))

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that `to_json` wrote; its lists may be shared with other records.

        Raises:
            PurebenchError: If it has another version, violates the schema, or contradicts itself.
        """
        record, agree = read_record(cls, text) or (from_json(cls, text, version=SCHEMA, cure=CURE), False)
        check_record(record, agree)
        return record

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """Return the record of which `asdict` gave this dict.

        Raises:
            PurebenchError: If it has another version, violates the schema, or contradicts itself.
        """
        return cls.from_json(json.dumps(data))
