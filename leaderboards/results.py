"""What was found about one defense on one board, and the estimates over it; `merge` makes it from records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from statistics import median
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from purebench.answers import ANSWERED as ANSWERED
from purebench.answers import Answers, gather, right_answers
from purebench.errors import PurebenchError
from purebench.records import Outcome, Picture
from purebench.registry import Spec
from purebench.schema import STRICT, Distance, DrawString, Line, PerImage, Plain, Position, Text, Whole, from_json
from purebench.statistics import Estimate, accuracy, robust_accuracy

Bools = npt.NDArray[np.bool_]

SCHEMA: Final = 1
"""The version of the schema of result files."""
CURE = "export it again (purebench run BOARD --results FOLDER)"
CLEAN = "clean"
"""The name of the attack that changes nothing: its accuracy is the clean accuracy."""


@dataclass(frozen=True)
class AttackResult:
    """One attack on one defense over all its finished blocks; tuples are in the order of its images.

    spec, gradient, eot: what was run (eot is 1 on a deterministic defense). source: defense and attack whose
    adversarial images it reuses, None for most. nearest, claims, certified: as in a record, empty where no block has
    them, None for images of blocks that have none. reasons: why it ERRORED; skips: why it was SKIPPED; these and
    notes: the distinct ones. seconds: wall time by phase; all else is the same in another run, so `to_dict` leaves
    them out.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: Line
    spec: Mapping[str, Plain]
    gradient: Text
    eot: Whole
    source: Mapping[str, Line] | None
    outcomes: PerImage[Outcome]
    draws: PerImage[DrawString]
    distances: PerImage[Distance | None]
    nearest: PerImage[Distance | None]
    claims: PerImage[Literal[0, 1] | None]
    reasons: PerImage[Text]
    skips: PerImage[Text]
    notes: PerImage[Text]
    forwards: Whole
    backwards: Whole
    pictures: PerImage[Picture]
    seconds: Mapping[str, Distance] = field(default_factory=dict)
    certified: PerImage[Distance | None] = ()

    def count(self, outcome: Outcome) -> int:
        """How many images had this outcome."""
        return self.outcomes.count(outcome)

    @property
    def skipped(self) -> bool:
        """Whether no image was attacked: the attack does not apply, or a cascade spared it all of them."""
        return self.count(Outcome.SKIPPED) == len(self.outcomes)

    @property
    def failed(self) -> bool:
        """Whether every image ERRORED."""
        return self.count(Outcome.ERRORED) == len(self.outcomes)

    @property
    def median_distance(self) -> float | None:
        """Median norm of the perturbations that there are, in the units of images in [0,1]."""
        known = [distance for distance in self.distances if distance is not None]
        return median(known) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the seconds; `certified` only where there are certificates."""
        without = {"seconds"} if self.certified else {"seconds", "certified"}
        return {name: value for name, value in asdict(self).items() if name not in without}


@dataclass(frozen=True)
class DefenseResult:
    """All finished blocks of one defense on one board.

    board: what decides the numbers (images, classifier, threat, attacks, draws, confidence, seed) in plain
    values, without title, about and the other defenses. images: positions in the dataset, in the board's
    random order; labels: their classes. complete: whether every block of the board is there. parameters,
    weights (a sha256), provenance (data, versions, commit, device): from the records. schema: the version of this
    schema.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    board: Mapping[str, Plain]
    name: Line
    spec: Mapping[str, Plain]
    random: bool
    parameters: Whole
    weights: Line
    images: PerImage[Position]
    labels: PerImage[Position]
    complete: bool
    attacks: PerImage[AttackResult]
    provenance: Mapping[str, Plain]
    schema: Literal[1] = SCHEMA

    @property
    def draws(self) -> int:
        """Verification draws an image."""
        return int(self.board["verify"]["draws"]) if self.random else 1

    @property
    def cascade(self) -> bool:
        """Whether images that one attack broke on every draw were spared the attacks after it."""
        return bool(self.board["cascade"])

    @property
    def anytime(self) -> bool:
        """Whether results decided where the run ended, so that its intervals must hold at any time."""
        rule = self.board.get("stop", {})
        return "half_width" in rule or "decided" in rule

    @property
    def answers(self) -> Answers | None:
        """What it answered under every attack that applies, clean included; None where none does."""
        return gather(((attack.outcomes, attack.draws) for attack in self.attacks), self.draws)

    @property
    def failed(self) -> bool:
        """Whether every image of every attack that applies ERRORED, so that nothing is known.

        What changes nothing, the clean images and certificates, is asked only where no attack applies.
        """
        applying = [attack for attack in self.attacks if not attack.skipped]
        attacks = [attack for attack in applying if attack.name != CLEAN and not attack.certified]
        return all(attack.failed for attack in attacks or applying)

    @property
    def attacked(self) -> bool:
        """Whether some attack says how robust it is; if none applies, its clean accuracy does not.

        A board without any attack has nothing else to go by.
        """
        attacks = [attack for attack in self.attacks if attack.name != CLEAN and not attack.certified]
        applies = any(not attack.skipped or self.spared(attack).any() for attack in attacks)
        return not self.failed and (applies or not attacks)

    @property
    def errored(self) -> int:
        """Images on which some attack ERRORED; they count as not robust."""
        by_image = zip(*(attack.outcomes for attack in self.attacks), strict=True)
        return sum(Outcome.ERRORED in outcomes for outcomes in by_image)

    @property
    def clean(self) -> Estimate | None:
        """Accuracy without an attack; None on a board without an attack named "clean".

        None as well where a cascade has another attack before it, which makes it conditional.
        """
        clean = next((attack for attack in self.attacks if attack.name == CLEAN), None)
        return None if clean is None or self.spared(clean).any() else self.accuracy(clean)

    @property
    def robust(self) -> Estimate | None:
        """Accuracy under the worst attack of each image, clean included; None where no attack applies.

        Raises PurebenchError for a random defense with a single draw, whose worst case would be biased.
        """
        found = self.answers
        if found is None:
            return None
        some = found.counts.any(axis=0)
        try:
            return robust_accuracy(
                found.right[:, some],
                deterministic=not self.random,
                confidence=self.board["confidence"],
                counts=found.counts[:, some],
                anytime=self.anytime,
            )
        except ValueError as error:
            raise PurebenchError(f"{self.name}: {error}") from error

    def accuracy(self, attack: AttackResult) -> Estimate | None:
        """Accuracy under one attack over the images it applies to; None if it was SKIPPED on all."""
        applies = np.array([outcome is not Outcome.SKIPPED for outcome in attack.outcomes])
        if not applies.any():
            return None
        right = self.right(attack)[applies]
        return accuracy(right, deterministic=not self.random, confidence=self.board["confidence"], anytime=self.anytime)

    def spared(self, attack: AttackResult) -> Bools:
        """The images [images] that a cascade spared this attack, because one before it had broken them on every draw.

        Over the others its accuracy is conditional. All False on a board without a cascade, and for an attack that
        is not for defenses of this kind.
        """
        gone = np.zeros(len(self.images), dtype=np.bool_)
        only = self.board["attacks"][attack.name]["only"]
        if not self.cascade or only not in ("all", "random" if self.random else "deterministic"):
            return gone
        for before in self.attacks[: self.attacks.index(attack)]:
            broken = np.array([outcome is Outcome.BROKEN for outcome in before.outcomes])
            gone |= broken & ~self.right(before).any(axis=1)
        skipped: Bools = np.array([outcome is Outcome.SKIPPED for outcome in attack.outcomes])
        return np.logical_and(gone, skipped)

    def right(self, attack: AttackResult) -> Bools:
        """Whether each verification draw was right, [images, draws]; False where there is no answer."""
        return right_answers(attack.outcomes, attack.draws, self.draws)

    @property
    def seconds(self) -> dict[str, dict[str, float]]:
        """Wall time by attack and phase."""
        return {attack.name: dict(attack.seconds) for attack in self.attacks}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that depend on the records alone: no seconds."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "attacks": [attack.to_dict() for attack in self.attacks]}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], seconds: Mapping[str, Mapping[str, float]] | None = None
    ) -> DefenseResult:
        """What `to_dict` wrote, with the seconds by attack and phase that were kept elsewhere.

        Raises:
            PurebenchError: as `from_json` does.
        """
        return cls.from_json(json.dumps(data)).with_seconds(seconds or {})

    def with_seconds(self, seconds: Mapping[str, Mapping[str, float]]) -> DefenseResult:
        """The same result with the wall time by attack and phase."""
        attacks = (replace(attack, seconds=dict(seconds.get(attack.name, {}))) for attack in self.attacks)
        return replace(self, attacks=tuple(attacks))

    @classmethod
    def from_json(cls, text: str) -> DefenseResult:
        """The result whose `to_dict` this JSON holds, without seconds.

        Raises:
            PurebenchError: it is of another version, breaks the schema, or contradicts itself or its board.
        """
        from purebench.results.validation import check_name, check_result

        found = from_json(cls, text, version=SCHEMA, cure=CURE)
        check_name(found.name)
        check_result(found)
        return found


def spec_text(spec: Mapping[str, Any]) -> str:
    """A spec's plain values as one writes it: "apgd(steps=20)"."""
    return str(Spec(spec["name"], spec.get("params", {})))
