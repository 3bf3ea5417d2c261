"""The cost of attacks in purifier passes per image: forwards + 2·backwards, from the counters of the records."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.results.results import DefenseResult

MEANING = "purifier passes per image: forwards + 2 × backwards of attack, counters and verification"


@dataclass(frozen=True)
class PassesPerImage:
    """The cost of a row in purifier passes per image.

    Attributes:
        attacks: the name of each attack, and its cost per image that it attacked (see `AttackResult.purifier_passes`);
            None where it was SKIPPED.
        picking: the passes that pick and score the worst example, per image of the row.
        total: the passes of all jobs, per image of the row.
    """

    attacks: tuple[tuple[str, float | None], ...]
    picking: float
    total: float


def passes_per_image(result: DefenseResult) -> PassesPerImage:
    """Return the cost of a row in purifier passes per image.

    Args:
        result: the result of the defense.
    """
    images = len(result.images)
    attacks = sum(attack.weighted_passes for attack in result.attacks)
    picking = sum(picks.forwards for picks in (result.worst_case, result.best_known) if picks is not None)
    return PassesPerImage(
        attacks=tuple((attack.name, attack.purifier_passes) for attack in result.attacks),
        picking=picking / images,
        total=(attacks + picking) / images,
    )
