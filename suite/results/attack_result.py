"""The results of one attack, and of the picked adversarial examples, on all finished blocks of one defense."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cached_property
from statistics import median
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict

from purebench.attacks.mechanisms import Mechanism, Part, mechanism, parts_of
from purebench.core.answers import ControlFacts, ImageTruth, LookCount
from purebench.core.files.versioned_model import STRICT, Distance, DrawString, Line, PerImage, Plain, Text, Whole
from purebench.core.registry import Spec
from purebench.core.warning_codes import ResultWarning
from purebench.records.answers import Bools, Codes, is_outcome, outcome_codes
from purebench.records.outcome import Outcome
from purebench.records.record import Picture

T = TypeVar("T")

CLEAN = "clean"
"""The name of the attack that leaves images unchanged; its accuracy is the clean accuracy."""
BACKWARD = 2
"""Cost of a backward pass in forward passes."""


@dataclass(frozen=True)
class AttackResult:
    """One attack on one defense over all its finished blocks; tuples are in the order of its images.

    The fields `nearest`, `claims` and `certified` are as in a record: empty if no block has them, with None for the
    images of blocks without them. The fields `reasons`, `skips`, `notes` and `warnings` contain each distinct value
    once.

    Attributes:
        name: the name of the attack on the board.
        spec: the spec of the attack.
        gradient: the gradient mode.
        eot: EOT samples, 1 for a deterministic defense.
        source: the defense and attack whose adversarial images are reused; None for most attacks.
        outcomes: one outcome per image.
        draws: the verification draws per image, a string of 1 (correct) and 0 (wrong).
        distances: the norm of each perturbation, None where there is no adversarial image.
        nearest: the smallest adversarial distances, of a minimum-norm attack.
        claims: the attack's own verdict.
        reasons: why images ERRORED.
        skips: why images were SKIPPED.
        notes: the notes of the records.
        forwards: images passed forward.
        backwards: images passed backward.
        pictures: images to show.
        seconds: wall time by phase. All other fields are the same in another run, so `to_dict` leaves this one out.
        certified: the certified radii.
        warnings: the warnings of the records.
        reason_images: the number of images of each of `reasons`.
        known_right: of an attack with known randomness, under how many seeds the frozen defense was right at the point
            found for it; `results.figures.known_randomness` computes the accuracy from it.
        known_seeds: the number of these seeds, 0 for other attacks.
        looks: what the attack saw at each image, if the board has it counted.
        clean_looks: the same of equally many looks at the clean image.
        truth: of a control, the known truth of each image.
        control: what is known of the control; None for attacks.
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
    warnings: PerImage[ResultWarning] = ()
    reason_images: PerImage[Whole] = ()
    known_right: PerImage[Whole | None] = ()
    known_seeds: Whole = 0
    looks: PerImage[LookCount | None] = ()
    clean_looks: PerImage[LookCount | None] = ()
    truth: PerImage[ImageTruth | None] = ()
    control: ControlFacts | None = None

    @cached_property
    def codes(self) -> Codes:
        """A number for each outcome; see `records.answers.outcome_codes`."""
        return outcome_codes(self.outcomes)

    def has(self, *wanted: Outcome) -> Bools:
        """Return whether each image has one of these outcomes, bool [images]."""
        return is_outcome(self.codes, *wanted)

    def count(self, outcome: Outcome) -> int:
        """Return the number of images with this outcome."""
        return int(np.count_nonzero(self.has(outcome)))

    @property
    def skipped(self) -> bool:
        """True if no image was attacked, because the attack does not apply, or because of a cascade."""
        return self.count(Outcome.SKIPPED) == len(self.outcomes)

    @property
    def failed(self) -> bool:
        """True if every image ERRORED."""
        return self.count(Outcome.ERRORED) == len(self.outcomes)

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """The mechanisms by which it finds adversarial images, those of its parts if it is a sequence; () if none.

        The reuse of another row's clean images is none; `results.grading.attack_mechanisms` knows of other attacks that
        are reused.
        """
        if self.source is not None:
            return () if self.source.get("attack") == CLEAN else (Mechanism.TRANSFER,)
        found = (mechanism(part, self.backwards) for part in self._parts)
        return tuple(dict.fromkeys(one for one in found if one is not None))

    @property
    def follows_gradient(self) -> bool:
        """True if it, or a part of it, follows the gradient of the whole defense."""
        return Mechanism.GRADIENT in self.mechanisms

    @property
    def gradient_alone(self) -> bool:
        """True if all of it follows the gradient of the whole defense; not so AutoAttack, which ends with Square."""
        return self.mechanisms == (Mechanism.GRADIENT,)

    @property
    def gradient_eot(self) -> int:
        """The largest number of draws that a part averages which follows the gradient of the whole defense; or 0."""
        following = (part for part in self._parts if mechanism(part, self.backwards) is Mechanism.GRADIENT)
        return max((part.draws for part in following), default=0)

    @property
    def _parts(self) -> Sequence[Part]:
        use = Spec(str(self.spec.get("name")), self.spec.get("params") or {})
        return parts_of(Part(use, Spec.parse(self.gradient), self.eot))

    @property
    def median_distance(self) -> float | None:
        """Median norm of the perturbations where there is one, in the units of images in [0,1]."""
        known = [distance for distance in self.distances if distance is not None]
        return median(known) if known else None

    @property
    def purifier_passes(self) -> float | None:
        """Cost in purifier passes per image: forwards + 2·backwards, over the images that were not SKIPPED.

        Attack and verification are included. A pass of a gradient mode that replaces the purifier or leaves it out
        counts like one with it. The value is None if all images were SKIPPED.
        """
        images = len(self.outcomes) - self.count(Outcome.SKIPPED)
        return self.weighted_passes / images if images else None

    @property
    def weighted_passes(self) -> int:
        """Forwards + 2·backwards: the cost of attack, counters and verification in forward passes."""
        return self.forwards + BACKWARD * self.backwards

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values without the seconds; fields of some attacks only are included if they are set."""
        optional = ("certified", "known_right", "known_seeds", "looks", "clean_looks", "truth", "control")
        without = {"seconds", *(name for name in optional if not getattr(self, name))}
        return {name: value for name, value in _plain_fields(self).items() if name not in without}


class PerAttack:
    """Values computed from attacks, each once: `get(attack, compute)` calls compute(attack) for a new attack only."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[AttackResult, Any]] = {}

    def get(self, attack: AttackResult, compute: Callable[[AttackResult], T]) -> T:
        """Return compute(attack), computed before for the same object."""
        held = self.known.get(attack.name)
        if held is None or held[0] is not attack:
            held = self.known[attack.name] = attack, compute(attack)
        found: T = held[1]
        return found


@dataclass(frozen=True)
class WorstCase:
    """The picked adversarial example of each image and its score; tuples are in the order of the images.

    Attributes:
        picked: the attack whose adversarial example was picked, None where no attack answered.
        outcomes: one outcome per image, as in a record.
        draws: the fresh draws at the pick, a string of 1 (correct) and 0 (wrong), "" where there is no pick.
        distances: the norm of each perturbation, as in a record.
        reasons: the distinct reasons of errors.
        notes: the distinct notes of the records.
        forwards: images passed to pick and to score.
        seconds: wall time by phase.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    picked: PerImage[Line | None]
    outcomes: PerImage[Outcome]
    draws: PerImage[DrawString]
    distances: PerImage[Distance | None]
    reasons: PerImage[Text]
    notes: PerImage[Text]
    forwards: Whole
    seconds: Mapping[str, Distance] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values without the seconds."""
        return {name: value for name, value in _plain_fields(self).items() if name != "seconds"}


def _plain_fields(found: AttackResult | WorstCase) -> dict[str, Any]:
    """Return the fields as plain values, as `asdict` does, but without a copy of each value of an image."""
    return {field.name: _plain(getattr(found, field.name)) for field in fields(found)}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and is_dataclass(next((one for one in value if one is not None), None)):
        return tuple(None if one is None else asdict(one) for one in value)
    if isinstance(value, ControlFacts):
        return asdict(value)
    return deepcopy(dict(value)) if isinstance(value, Mapping) else value
