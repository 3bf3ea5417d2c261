"""The cost of attacks and of all jobs of a defense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from purebench.results.attack_result import AttackResult
from purebench.results.results import DefenseResult


@dataclass(frozen=True)
class Cost:
    """The cost of an evaluation.

    Attributes:
        seconds: wall time of all jobs.
        forwards: images passed forward by all attacks and their verification; the second pass of a deterministic
            defense, by which its answers are compared, is not counted.
        backwards: images passed backward by all attacks.
        draw_ms: milliseconds of a pass of one image in the verification; None where its phase was not timed. A random
            defense passes an image once per draw, a deterministic one twice, because it must answer the same again.
    """

    seconds: float
    forwards: int
    backwards: int
    draw_ms: float | None


def cost_of(result: DefenseResult) -> Cost:
    """Return the cost of all jobs of a defense."""
    attacks = cost(result.attacks, random=result.random)
    picking = [picks for picks in (result.worst_case, result.best_known) if picks is not None]
    return replace(
        attacks,
        seconds=attacks.seconds + sum(sum(picks.seconds.values()) for picks in picking),
        forwards=attacks.forwards + sum(picks.forwards for picks in picking),
    )


def cost(attacks: Sequence[AttackResult], *, random: bool) -> Cost:
    """Return the cost of these attacks and their verification.

    Args:
        attacks: the attacks.
        random: whether the defense is random.
    """
    passes = (1 if random else 2) * sum(sum(map(len, attack.draws)) for attack in attacks)
    verify = sum(attack.seconds.get("verify", 0.0) for attack in attacks)
    return Cost(
        seconds=sum(sum(attack.seconds.values()) for attack in attacks),
        forwards=sum(attack.forwards for attack in attacks),
        backwards=sum(attack.backwards for attack in attacks),
        draw_ms=1000 * verify / passes if passes and verify else None,
    )
