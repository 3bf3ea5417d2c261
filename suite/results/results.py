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

from purebench.core.files.versioned_model import (
    STRICT,
    Distance,
    DrawString,
    Line,
    PerImage,
    Plain,
    Position,
    Text,
    Whole,
    from_json,
)
from purebench.core.registry import Spec
from purebench.core.warning_codes import ResultWarning
from purebench.records.answers import ANSWERED as ANSWERED
from purebench.records.answers import Answers, gather, right_answers
from purebench.records.record import WORST_CASE, Outcome, Picture
from purebench.statistics import Estimate, accuracy, bracket, interval, interval_method, lowest_per_image

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

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
    notes, warnings: the distinct ones. reason_images: how many images each of `reasons` is about. seconds: wall time by
    phase; all else is the same in another run, so `to_dict` leaves them out.
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
class WorstCase:
    """The pick of each image and its score; tuples are in the order of the images.

    picked: the attack whose adversarial example was picked, None where no attack answered. draws: the fresh draws there
    (a string of 1 for right and 0 for wrong, "" where there is no pick). outcomes, distances, reasons, notes: as in a
    record. forwards: images passed to pick and to score. seconds: wall time by phase.
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
        """Plain JSON values, without the seconds."""
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


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
    worst_case: WorstCase
    provenance: Mapping[str, Plain]
    schema: Literal[1] = SCHEMA

    @property
    def draws(self) -> int:
        """Verification draws of each attack's adversarial example."""
        return int(self.board["verify"]["draws"]) if self.random else 1

    @property
    def fresh_draws(self) -> int:
        """Fresh draws that score the picked adversarial example of an image."""
        return int(self.board["verify"]["fresh"]) if self.random else 1

    @property
    def fresh(self) -> Bools:
        """True where a fresh draw at the picked adversarial example was right, bool [images, draws]; see `scored`."""
        return right_answers(self.worst_case.outcomes, self.worst_case.draws, self.fresh_draws)

    @property
    def scored(self) -> Bools:
        """[images]: whether an adversarial example was picked and scored."""
        scored: Bools = np.array([outcome in ANSWERED for outcome in self.worst_case.outcomes], dtype=np.bool_)
        return scored

    @property
    def doubtful(self) -> Bools:
        """[images]: whether the score is not known, because an attack or the scoring ERRORED on the image.

        An attack that ERRORED might have found a worse example; where no draw at the pick was right, none is worse.
        """
        failed = np.zeros(len(self.images), dtype=np.bool_)
        for outcomes in (*(attack.outcomes for attack in self.attacks), self.worst_case.outcomes):
            failed |= np.array([outcome is Outcome.ERRORED for outcome in outcomes], dtype=np.bool_)
        doubtful: Bools = failed & ~(self.scored & ~self.fresh.any(axis=1))
        return doubtful

    def scores(self, *, errored: float = 0.0) -> Floats:
        """[images]: the share of right fresh draws at the picked adversarial example, NaN where no attack applies.

        errored: what a doubtful image counts as: 0 for wrong, the lower bound; 1 for right (no worse than its pick),
        the upper bound.
        """
        found = np.where(self.scored, self.fresh.mean(axis=1), np.nan)
        return np.where(self.doubtful, np.fmin(found, errored), found)

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
        return gather([(attack.outcomes, attack.draws) for attack in self.attacks], self.draws)

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
        """Images whose score is not known, because something ERRORED on them; see `doubtful`."""
        return int(self.doubtful.sum())

    @property
    def clean(self) -> Estimate | None:
        """Accuracy without an attack; None on a board without an attack named "clean".

        None as well where a cascade has another attack before it, which makes it conditional.
        """
        clean = next((attack for attack in self.attacks if attack.name == CLEAN), None)
        return None if clean is None or self.spared(clean).any() else self.accuracy(clean)

    @property
    def robust(self) -> Estimate | None:
        """Accuracy at the picked adversarial examples; None where no attack applies, or it is known within `bounds`.

        For each image the worst example of all attacks (clean included) was picked on earlier draws; the fresh draws
        there are unbiased for the accuracy at what was picked, which is an upper bound of mean_i min_a q[i,a].
        """
        return None if self.doubtful.any() else self._mean(self.scores())

    @property
    def bounds(self) -> tuple[Estimate, Estimate] | None:
        """The robust accuracy with all doubtful images wrong, and with all right; None where there is none."""
        low, high = self._mean(self.scores(errored=0.0)), self._mean(self.scores(errored=1.0))
        return None if low is None or high is None or not self.doubtful.any() else (low, high)

    @property
    def bracket(self) -> Estimate | None:
        """Ends for mean_i min_a q[i,a] of a random defense (see `statistics.bracket`); None for others."""
        answers, some = self.answers, self.scored
        if not self.random or answers is None or self.doubtful.any() or not some.any():
            return None
        return bracket(
            lowest_per_image(answers.right[:, some], answers.counts[:, some]),
            self.scores()[some],
            self.board["confidence"],
            anytime=self.anytime,
        )

    def _mean(self, scores: Floats) -> Estimate | None:
        known = scores[~np.isnan(scores)]
        if not known.size:
            return None
        return interval(known, interval_method(not self.random, self.anytime), self.board["confidence"])

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
            broken = np.array([outcome is Outcome.MISCLASSIFIED for outcome in before.outcomes])
            gone |= broken & ~self.right(before).any(axis=1)
        skipped: Bools = np.array([outcome is Outcome.SKIPPED for outcome in attack.outcomes])
        return np.logical_and(gone, skipped)

    def right(self, attack: AttackResult) -> Bools:
        """Whether each verification draw was right, [images, draws]; False where there is no answer."""
        return right_answers(attack.outcomes, attack.draws, self.draws)

    @property
    def seconds(self) -> dict[str, dict[str, float]]:
        """Wall time by attack and phase."""
        timed = {attack.name: dict(attack.seconds) for attack in self.attacks}
        return {**timed, WORST_CASE: dict(self.worst_case.seconds)}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that depend on the records alone: no seconds."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        attacks = [attack.to_dict() for attack in self.attacks]
        return {**plain, "attacks": attacks, "worst_case": self.worst_case.to_dict()}

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
        picking = replace(self.worst_case, seconds=dict(seconds.get(WORST_CASE, {})))
        return replace(self, attacks=tuple(attacks), worst_case=picking)

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
