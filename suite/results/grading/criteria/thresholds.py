"""The thresholds of a grade: every number and every fault that decides a letter, in two tables (docs/grade.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from purebench.results.grading.criteria.letters import Code, Letter, Reason
from purebench.results.grading.evidence import ConvergenceStatus

A, B, C, D, F = Letter


@dataclass(frozen=True)
class Threshold:
    """The letters of a number.

    Attributes:
        code: the criterion.
        missed: a number that does not meet a limit in words, where {} is the limit.
        quantity: the number in full.
        limits: the limit of each letter but F; the letter is the best whose limit the number meets, F if there is none.
        at_least: whether a limit is met by numbers that are at least, or else at most, as large.
        percent: whether the number is a share that is shown in percent.
    """

    code: Code
    missed: str
    quantity: str
    limits: Mapping[Letter, float]
    at_least: bool = True
    percent: bool = False

    def letter(self, number: float) -> Letter:
        """Return the letter of a number."""
        met = (letter for letter, limit in self.limits.items() if self._meets(number, limit))
        return next(met, F)

    def better(self, number: float) -> tuple[Letter, float]:
        """Return the next better letter than that of a number, and its limit; of an A, those of A."""
        letters = list(self.limits)
        own = self.letter(number)
        place = letters.index(own) - 1 if own in letters else len(letters) - 1
        letter = letters[max(0, place)]
        return letter, self.limits[letter]

    def reason(self, number: float, sentence: str, cure: str) -> Reason:
        """Return the letter of a number as a reason.

        Args:
            number: the number.
            sentence: what was found, without the number that a better letter needs.
            cure: the command that would raise the letter.
        """
        letter, (better, limit) = self.letter(number), self.better(number)
        if letter is A:
            return Reason(self.code, letter, sentence)
        needs = f"{better} needs at {'least' if self.at_least else 'most'} {self.text(limit)}"
        return Reason(self.code, letter, f"{sentence}; {needs}", self.missed.format(self.text(limit)), cure)

    def text(self, number: float) -> str:
        """Return a number or a limit in the unit in which it is shown."""
        return f"{100 * number:.3g} %" if self.percent else f"{number:g}"

    def _meets(self, number: float, limit: float) -> bool:
        return number >= limit if self.at_least else number <= limit


@dataclass(frozen=True)
class Fault:
    """A fault that limits a letter.

    Attributes:
        code: the criterion.
        letter: the best letter of an evaluation with this fault.
        condition: the fault in words.
    """

    code: Code
    letter: Letter
    condition: str

    def reason(self, cure: str, sentence: str = "") -> Reason:
        """Return the fault as a reason.

        Args:
            cure: the command that would raise the letter.
            sentence: what was found, with its numbers; "" for the condition.
        """
        return Reason(self.code, self.letter, sentence or self.condition, self.condition, cure)


UNKNOWN_SCORES = Threshold(
    Code.ERRORS,
    "more than {} of the images with an unknown score",
    "share of images whose score is unknown, because an attack errored or none applies",
    {A: 0.0, C: 0.02, D: 0.1},
    at_least=False,
    percent=True,
)
RECOVERED_CONTROLS = Threshold(
    Code.CONTROLS,
    "fewer than {} of the controls recovered",
    "share of control rows that are recovered: measured at most 5 points above the known accuracy, on images that "
    "exclude 10 points",
    {A: 0.9, B: 0.75, C: 0.5, D: 0.0},
    percent=True,
)
RECOVERED_WITHOUT_TRANSFER = Threshold(
    Code.WITHOUT_TRANSFER,
    "fewer than {} of the controls recovered without transfer",
    "the same share without attacks that reuse adversarial examples of other rows",
    {A: 0.75, B: 0.5, C: 0.25, D: 0.0},
    percent=True,
)
EOT_SAMPLES = Threshold(
    Code.EOT,
    "fewer than {} EOT samples",
    "EOT samples of an attack that follows the gradient, on a random defense",
    {A: 10, B: 4, C: 2, D: 1},
)
MECHANISMS = Threshold(
    Code.MECHANISMS,
    "fewer than {} mechanisms of attacks",
    "mechanisms of attacks: gradient (exact, BPDA), substitute gradient (blind, surrogate, stand-in), gradient-free, "
    "transfer",
    {A: 3, B: 2, C: 1},
)
IMAGES = Threshold(Code.IMAGES, "fewer than {} images", "images", {A: 500, B: 200, C: 30, D: 10})
HALF_WIDTH = Threshold(
    Code.HALF_WIDTH,
    "an interval wider than ± {}",
    "half of the width of the interval of robust accuracy",
    {A: 0.05, B: 0.08, C: 0.15, D: 0.25},
    at_least=False,
    percent=True,
)
DRAWS = Threshold(
    Code.DRAWS,
    "fewer than {} draws",
    "draws of a random defense: the smaller of `verify.draws` and `verify.fresh`",
    {A: 16, B: 8, C: 4, D: 1},
)
THRESHOLDS = (
    UNKNOWN_SCORES,
    RECOVERED_CONTROLS,
    RECOVERED_WITHOUT_TRANSFER,
    EOT_SAMPLES,
    MECHANISMS,
    IMAGES,
    HALF_WIDTH,
    DRAWS,
)

NOT_ATTACKED = Fault(Code.ATTACKED, F, "no attack of the common suite has a result")
BELOW_TRUTH = Fault(Code.TRUTHS, F, "a control is measured significantly below what is proven of it")
BROKEN_CONTRACT = Fault(Code.CONTRACT, D, "the defense answers differently during gradients, or returns probabilities")
MASKED = Fault(Code.MASKING, D, "a warning of gradient masking")
NOT_ADAPTIVE = Fault(Code.ADAPTIVITY, D, "no attack follows the gradient of the whole defense, exactly or by BPDA")
NO_CONTROLS = Fault(Code.CONTROLS, C, "no control rows were run")
UNDECIDED_CONTROLS = Fault(
    Code.CONTROLS,
    C,
    "too few controls are recovered, and enough of the others are undecided, unfinished or too easy",
)
UNDECIDED_WITHOUT_TRANSFER = Fault(
    Code.WITHOUT_TRANSFER,
    C,
    "too few controls are recovered without transfer, and enough of the others are undecided, unfinished or too easy",
)
NO_CONVERGENCE = Fault(Code.CONVERGENCE, C, "convergence was not measured")
UNDECIDED = Fault(Code.CONVERGENCE, C, "convergence is undecided, for lack of images")
FALLING = Fault(Code.CONVERGENCE, D, "more effort or another attack lowers the accuracy")
FLAT = Fault(Code.CONVERGENCE, D, "the accuracy does not fall with effort, which is what gradient masking looks like")
BEATEN = Fault(
    Code.BESPOKE,
    D,
    "an attack that was written or searched for this defense leaves a significantly lower accuracy than the common "
    "suite",
)
NOT_BESPOKE = Fault(Code.BESPOKE, B, "no attack was written or searched for this defense")
ATTACK_ERRORS = Fault(Code.ERRORS, B, "an attack errored on images whose score is known nevertheless")
UNFINISHED = Fault(Code.COMPLETENESS, B, "not all blocks of the board are finished")
LIBRARY_WARNING = Fault(Code.LIBRARY, B, "a library warned that its attack may have failed")
OVERCLAIMED = Fault(
    Code.VERDICTS, B, "an attack on a deterministic defense claims images that verification finds right"
)
IN_MEMORY = Fault(Code.REPEATABILITY, B, "the defense is an object in memory, which no command evaluates again")
FAULTS = (
    NOT_ATTACKED,
    BELOW_TRUTH,
    BROKEN_CONTRACT,
    MASKED,
    NOT_ADAPTIVE,
    NO_CONTROLS,
    UNDECIDED_CONTROLS,
    UNDECIDED_WITHOUT_TRANSFER,
    NO_CONVERGENCE,
    UNDECIDED,
    FALLING,
    FLAT,
    BEATEN,
    NOT_BESPOKE,
    ATTACK_ERRORS,
    UNFINISHED,
    LIBRARY_WARNING,
    OVERCLAIMED,
    IN_MEMORY,
)
NOT_CONVERGED = {
    ConvergenceStatus.UNDECIDED: UNDECIDED,
    ConvergenceStatus.FALLING: FALLING,
    ConvergenceStatus.FLAT: FLAT,
}
"""The faults of rows that have not converged."""
