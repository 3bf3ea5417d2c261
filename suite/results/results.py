"""The result of one defense on one board, and the estimates derived from it.

`merge` creates it from records; the page shows `robust`, which is `statistics.interval` of `scores`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from purebench.core.files.versioned_model import STRICT, Line, PerImage, Plain, Position, Whole, from_json
from purebench.core.registry import Spec
from purebench.records.answers import ANSWERED as ANSWERED
from purebench.records.answers import Answers, is_outcome, right_answers, stacked
from purebench.records.outcome import BEST_KNOWN, WORST_CASE, Outcome
from purebench.results.attack_result import CLEAN as CLEAN
from purebench.results.attack_result import AttackResult, PerAttack, WorstCase
from purebench.statistics import Estimate, accuracy, bracket, interval, interval_method, lowest_per_image

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

SCHEMA: Final = 1
"""The version of the schema of result files."""
CURE = "export it again (purebench run BOARD --results FOLDER)"


@dataclass(frozen=True)
class DefenseResult:
    """All finished blocks of one defense on one board.

    Attributes:
        board: the settings that decide the numbers, in plain values, without title, about and the other defenses.
        name: the name of the defense.
        spec: the spec of the defense.
        random: whether the defense is random.
        parameters: the number of parameters, from the records.
        weights: the sha256 of the weights, from the records.
        images: positions in the dataset, in the board's random order.
        labels: the classes of the images.
        complete: whether all blocks of the board are included.
        attacks: the results of the attacks, in the board's order.
        worst_case: the adversarial examples that were picked among the attacks of the common suite, and their scores.
        provenance: data, versions, commit, device, and hashes of the code of the defense and of each attack.
        schema: the version of this schema.
        best_known: the same with the attacks that are bespoke to the row, None without any.
        challenged: the accuracy at examples of an accepted challenge, stored separately; None if there are none.
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
    best_known: WorstCase | None = None
    challenged: Estimate | None = None

    @cached_property
    def common(self) -> tuple[AttackResult, ...]:
        """The attacks of the common suite, which decide the robust accuracy and the rank: those without `rows`."""
        return tuple(attack for attack in self.attacks if not self.board["attacks"][attack.name].get("rows"))

    @property
    def draws(self) -> int:
        """Verification draws of each attack's adversarial example."""
        return int(self.board["verify"]["draws"]) if self.random else 1

    @property
    def fresh_draws(self) -> int:
        """Fresh draws that score the picked adversarial example of an image."""
        return int(self.board["verify"]["fresh"]) if self.random else 1

    @cached_property
    def fresh(self) -> Bools:
        """True where a fresh draw at the picked adversarial example was correct, bool [images, draws]; see `scored`."""
        return right_answers(self.worst_case.outcomes, self.worst_case.draws, self.fresh_draws)

    @cached_property
    def scored(self) -> Bools:
        """True where an adversarial example was picked and scored, bool [images]."""
        return is_outcome(self.worst_case.outcomes, *ANSWERED)

    @cached_property
    def doubtful(self) -> Bools:
        """True where the score is unknown because an attack or the scoring ERRORED on the image, bool [images].

        An attack that ERRORED might have found a worse example, unless no draw at the pick was correct.
        """
        failed = np.zeros(len(self.images), dtype=np.bool_)
        for attack in self.common:
            failed |= attack.has(Outcome.ERRORED)
        failed |= is_outcome(self.worst_case.outcomes, Outcome.ERRORED)
        doubtful: Bools = failed & ~(self.scored & ~self.fresh.any(axis=1))
        return doubtful

    def scores(self, *, errored: float = 0.0) -> Floats:
        """Return the share of correct fresh draws at the picked adversarial example of each image.

        Args:
            errored: the largest value of a doubtful image: 0 counts it as wrong, for the lower bound; 1 counts it as
                its pick, or as correct without one, for the upper bound.

        Returns:
            Shares [images] in [0,1], NaN where no attack applies.
        """
        found = np.where(self.scored, self.fresh.mean(axis=1), np.nan)
        return np.where(self.doubtful, np.fmin(found, errored), found)

    @property
    def cascade(self) -> bool:
        """True if images that one attack broke on every draw were left out of the attacks after it."""
        return bool(self.board["cascade"])

    @property
    def anytime(self) -> bool:
        """True if the results determined where the run ended, so that its intervals must be anytime-valid."""
        rule = self.board.get("stop", {})
        return "half_width" in rule or "decided" in rule

    @cached_property
    def answers(self) -> Answers | None:
        """The answers under all attacks of the common suite that apply, clean included; None where none applies."""
        return stacked((self.right(attack), ~attack.has(Outcome.SKIPPED)) for attack in self.common)

    @cached_property
    def failed(self) -> bool:
        """True if every image of every attack that applies ERRORED; the clean images count if no attack applies."""
        applying = [attack for attack in self.common if not attack.skipped]
        attacks = [attack for attack in applying if attack.name != CLEAN and not attack.certified]
        return all(attack.failed for attack in attacks or applying)

    @cached_property
    def attacked(self) -> bool:
        """True if some attack measures the robustness; if none applies, the clean accuracy does not measure it.

        A board without any attack has no other measure, so the result is True there unless all images ERRORED.
        """
        attacks = [attack for attack in self.common if attack.name != CLEAN and not attack.certified]
        applies = any(not attack.skipped or self.spared(attack).any() for attack in attacks)
        return not self.failed and (applies or not attacks)

    @property
    def errored(self) -> int:
        """The number of images whose score is unknown because of an error; see `doubtful`."""
        return int(self.doubtful.sum())

    @cached_property
    def clean(self) -> Estimate | None:
        """Accuracy without an attack; None without an attack "clean", if it ERRORED, or after others of a cascade."""
        clean = next((attack for attack in self.attacks if attack.name == CLEAN), None)
        if clean is None or clean.count(Outcome.ERRORED) or self.spared(clean).any():
            return None
        return self.accuracy(clean)

    @cached_property
    def robust(self) -> Estimate | None:
        """Accuracy at the picked adversarial examples, which the page shows.

        It is the mean of `scores` with an interval (`statistics.intervals.methods.interval`), and the draws behind them
        are those of `execution.jobs.worst_case_job`; `merge` only joins the blocks. It is None where no attack applies,
        or where it is known only within `bounds`. For each image the worst example of all attacks of the common suite
        (clean included) was picked on earlier draws. The fresh draws there are unbiased for the accuracy at the pick,
        which is an upper bound of mean_i min_a q[i,a].
        """
        return None if self.doubtful.any() else self._mean(self.scores())

    @cached_property
    def bounds(self) -> tuple[Estimate, Estimate] | None:
        """The robust accuracy with all doubtful images wrong, and with all correct; None without doubtful images."""
        low, high = self._mean(self.scores(errored=0.0)), self._mean(self.scores(errored=1.0))
        return None if low is None or high is None or not self.doubtful.any() else (low, high)

    @cached_property
    def bracket(self) -> Estimate | None:
        """Limits for mean_i min_a q[i,a] of a random defense (see `statistics.bracket`); None for other defenses."""
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
        """Return the accuracy under one attack over the images it applies to; None if all images were SKIPPED."""
        return self._computed[1].get(attack, self._accuracy)

    def _accuracy(self, attack: AttackResult) -> Estimate | None:
        applies = ~attack.has(Outcome.SKIPPED)
        if not applies.any():
            return None
        right = self.right(attack) if applies.all() else self.right(attack)[applies]
        return accuracy(right, deterministic=not self.random, confidence=self.board["confidence"], anytime=self.anytime)

    def spared(self, attack: AttackResult) -> Bools:
        """Return the images that a cascade, or an attack with `spare`, left out because an earlier attack broke them.

        The attack's accuracy is conditional on the other images.

        Args:
            attack: one of the attacks of this result.

        Returns:
            bool [images], all False for an attack that spares no images or that is not for defenses of this kind.
        """
        gone = np.zeros(len(self.images), dtype=np.bool_)
        choice = self.board["attacks"][attack.name]
        only, spares = choice["only"], self.cascade or choice.get("spare", False)
        if not spares or only not in ("all", "random" if self.random else "deterministic"):
            return gone
        pool = self.attacks if choice.get("rows") else self.common
        for before in pool[: [one.name for one in pool].index(attack.name)]:
            gone |= before.has(Outcome.MISCLASSIFIED) & ~self.right(before).any(axis=1)
        return np.logical_and(gone, attack.has(Outcome.SKIPPED))

    def right(self, attack: AttackResult) -> Bools:
        """Return whether each verification draw was correct, bool [images, draws]; False where there is no answer."""
        return self._computed[0].get(attack, lambda attack: right_answers(attack.codes, attack.draws, self.draws))

    @cached_property
    def _computed(self) -> tuple[PerAttack, PerAttack]:
        """The correct draws and the accuracy of each attack."""
        return PerAttack(), PerAttack()

    @property
    def seconds(self) -> dict[str, dict[str, float]]:
        """Wall time by attack and phase."""
        timed = {attack.name: attack for attack in self.attacks} | {WORST_CASE: self.worst_case}
        timed |= {BEST_KNOWN: self.best_known} if self.best_known is not None else {}
        return {name: dict(one.seconds) for name, one in timed.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that depend only on the records, so without the seconds and challenges."""
        picks = {"worst_case": self.worst_case, "best_known": self.best_known}
        names = (field.name for field in fields(self) if field.name not in (*picks, "challenged"))
        plain = {name: getattr(self, name) for name in names}
        plain["attacks"] = [attack.to_dict() for attack in self.attacks]
        return plain | {name: one.to_dict() for name, one in picks.items() if one is not None}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], seconds: Mapping[str, Mapping[str, float]] | None = None
    ) -> DefenseResult:
        """Create a result from the values of `to_dict` and the `seconds`, which are stored separately.

        Raises:
            PurebenchError: as for `from_json`.
        """
        return cls.from_json(json.dumps(data)).with_seconds(seconds or {})

    def with_seconds(self, seconds: Mapping[str, Mapping[str, float]]) -> DefenseResult:
        """Return the same result with the wall time by attack and phase."""
        attacks = (replace(attack, seconds=dict(seconds.get(attack.name, {}))) for attack in self.attacks)
        picking = replace(self.worst_case, seconds=dict(seconds.get(WORST_CASE, {})))
        known = self.best_known and replace(self.best_known, seconds=dict(seconds.get(BEST_KNOWN, {})))
        return replace(self, attacks=tuple(attacks), worst_case=picking, best_known=known)

    @classmethod
    def from_json(cls, text: str) -> DefenseResult:
        """Create a result, without seconds, from the JSON of its `to_dict`.

        Raises:
            PurebenchError: the JSON is of another version, does not match the schema, or contradicts itself.
        """
        from purebench.results.validation import check_name, check_result

        found = from_json(cls, text, version=SCHEMA, cure=CURE)
        check_name(found.name)
        check_result(found)
        return found


def spec_text(spec: Mapping[str, Any]) -> str:
    """Format a spec's plain values as text, such as "apgd(steps=20)"."""
    return str(Spec(spec["name"], spec.get("params", {})))
