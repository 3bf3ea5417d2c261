"""Defines what a claim asks: the decision, its words, and whether a bad grade of the evaluation leaves it undecided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from purebench.boards.board import Board
from purebench.results.grading.criteria.letters import FAILING, Grade, Letter, Reason, ordered, worst
from purebench.results.ranking.regression import unchanged
from purebench.results.results import DefenseResult
from purebench.results.scores import Floats
from purebench.testing.baseline import Baseline
from purebench.testing.claim_evaluation import clean_only
from purebench.testing.decision import Decision, at_least, at_most, not_worse


@dataclass(frozen=True)
class Question:
    """What a claim asks.

    Attributes:
        what: The quantity in words.
        claimed: The claimed limit in words, where {other} is the name of the second defense.
        decide: Makes a decision from the scores [n] in [0,1] of each defense, at a confidence.
        meaning: The meaning of a claim that holds, where {by} is the board with its number of images; "" for none.
        only: Derives the board that is run; None for the board itself.
        supported: Whether the claim needs attacks that could have broken the defense, so that a bad grade of the
            evaluation leaves it undecided.
        against: The name of a result that the defense is compared with, "" for none.
        check: Called with each result of the first defense before it is used for a decision.
        unchanged: Whether a result of the first defense is the one that it is compared with: the claim then holds.
        bespoke: Whether attacks of the board that are bespoke to the row count. Two rows are compared without them.
    """

    what: str
    claimed: str
    decide: Callable[[Sequence[Floats], float], Decision]
    meaning: str = ""
    only: Callable[[Board], Board] | None = None
    supported: bool = False
    against: str = ""
    check: Callable[[DefenseResult], None] = lambda found: None
    unchanged: Callable[[DefenseResult], bool] = lambda found: False
    bespoke: bool = False


def robust_at_least(accuracy: float) -> Question:
    """Ask whether the robust accuracy is at least a fraction."""
    return Question(
        "robust accuracy",
        f"≥ {100 * accuracy:g} %",
        lambda scores, confidence: at_least(scores[0], accuracy, confidence),
        f"not broken below {100 * accuracy:g} % by {{by}}; an upper bound: a stronger attack may break it further",
        supported=True,
        bespoke=True,
    )


def robust_at_most(accuracy: float) -> Question:
    """Ask whether the robust accuracy is at most a fraction."""
    return Question(
        "robust accuracy",
        f"≤ {100 * accuracy:g} %",
        lambda scores, confidence: at_most(scores[0], accuracy, confidence),
        f"broken to at most {100 * accuracy:g} % by {{by}}: its adversarial examples prove it",
        bespoke=True,
    )


def clean_at_least(accuracy: float) -> Question:
    """Ask whether the accuracy without an attack is at least a fraction."""
    return Question(
        "clean accuracy",
        f"≥ {100 * accuracy:g} %",
        lambda scores, confidence: at_least(scores[0], accuracy, confidence),
        only=clean_only,
    )


def robust_not_worse(margin: float) -> Question:
    """Ask whether the robust accuracy is at most a margin below that of another defense."""
    points = "1 point" if margin == 0.01 else f"{100 * margin:g} points"
    return Question(
        "robust accuracy",
        f"at most {points} below that of {{other}}",
        lambda scores, confidence: not_worse(scores[0], scores[1], margin, confidence),
        "under the attacks of {by}; both accuracies are upper bounds",
        supported=True,
    )


def robust_not_worse_than_baseline(baseline: Baseline, margin: float) -> Question:
    """Ask whether the robust accuracy is at most a margin below that of a committed result, on the same images."""
    question = robust_not_worse(margin)
    return replace(
        question,
        decide=lambda scores, confidence: not_worse(scores[0], baseline.scores[: len(scores[0])], margin, confidence),
        claimed=question.claimed.replace("{other}", baseline.shown),
        against=baseline.shown,
        check=baseline.check,
        unchanged=lambda found: unchanged(baseline.result, found),
    )


def letter_of(grade: Grade) -> Letter:
    """Return the letter of an evaluation whose precision a claim decides by its own interval."""
    return worst([grade.integrity.letter, grade.adequacy.letter])


def against(grade: Grade) -> tuple[Reason, ...]:
    """Return the reasons for which an evaluation does not support a claim: warnings of masking, and letters D and F."""
    reasons = (*grade.integrity.reasons, *grade.adequacy.reasons)
    return ordered(reason for reason in reasons if reason.letter in FAILING)


def grade_lines(reasons: Sequence[Reason]) -> list[str]:
    """Return the lines of a message about the reasons that leave a claim undecided, and their cures."""
    return [line for one in reasons for line in (f"  grade      {one}", f"  raise it   {one.cure}")]
