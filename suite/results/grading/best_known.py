"""The best known accuracy of a row: at examples picked among all attacks, including those that are bespoke to it."""

from __future__ import annotations

from dataclasses import replace

from purebench.results.grading.attack_mechanisms import mechanisms_of
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate


def with_bespoke(result: DefenseResult) -> DefenseResult:
    """Return the result in which the bespoke attacks are part of the common suite.

    Its robust accuracy, bounds and bracket are those under all attacks.

    Args:
        result: the result of a defense.

    Returns:
        The result with `best_known` in place of `worst_case`; the same result without bespoke attacks.
    """
    if result.best_known is None:
        return result
    attacks = {
        name: {key: value for key, value in attack.items() if key != "rows"}
        for name, attack in result.board["attacks"].items()
    }
    return replace(result, board={**result.board, "attacks": attacks}, worst_case=result.best_known, best_known=None)


def best_known(result: DefenseResult) -> Estimate | None:
    """Return the accuracy at the adversarial examples that were picked among all attacks, bespoke ones included.

    The examples are picked on earlier draws and scored on fresh draws, as those of the robust accuracy are, so that it
    is unbiased for the accuracy at these picks. It is not ranked, because only this row was attacked with them. An
    accepted challenge counts where its bound is the lower one: attacks that were run after it may have found more.

    Args:
        result: the result of a defense.

    Returns:
        The estimate; None if no challenge was accepted and no attack is bespoke to the row, if none applies, or if one
        ERRORED.
    """
    whole = with_bespoke(result)
    found = whole.robust if whole.attacked else None
    if result.challenged is None:
        return None if result.best_known is None else found
    return result.challenged if found is None else min(found, result.challenged, key=lambda bound: bound.value)


def ran_bespoke(result: DefenseResult) -> bool:
    """Return whether an attack that is bespoke to the row, and that searches at all, answered on some image."""
    own = (attack for attack in result.attacks if attack not in result.common)
    answered = (attack for attack in own if not (attack.skipped or attack.failed or attack.certified))
    return any(mechanisms_of(result, attack) for attack in answered)
