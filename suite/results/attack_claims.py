"""Compares an attack's own verdict with ours; attack libraries count what they claim to break, and we verify it."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.results import ANSWERED


@dataclass(frozen=True)
class AttackClaim:
    """An attack's own verdict, over the images for which it gave one.

    Attributes:
        holding: the number of images that the attack claims are robust.
        asked: the number of images for which it gave a verdict.
        overclaimed: images that it claims are misclassified, but that are robust on verification.
        overlooked: images that it claims are robust, but that are misclassified on verification.
    """

    holding: int
    asked: int
    overclaimed: int
    overlooked: int

    @property
    def accuracy(self) -> float:
        """The accuracy that the attack would report, in [0,1]."""
        return self.holding / self.asked

    @property
    def remark(self) -> str:
        """The number and direction of differences from verification; empty if there are none."""
        differing = self.overclaimed + self.overlooked
        if not differing:
            return ""
        told = f"the attack's own verdict differs from the verification on {differing} of {self.asked} images: "
        ways = [
            f"{self.overclaimed} claimed misclassified, but verified as robust" if self.overclaimed else "",
            f"{self.overlooked} claimed robust, but verified as misclassified" if self.overlooked else "",
        ]
        return told + ", ".join(way for way in ways if way)


def attack_claim(attack: AttackResult) -> AttackClaim | None:
    """Return the attack's own verdict, or None if it gave none.

    The result is also None for a minimum-norm attack: it claims an adversarial image at any distance, which says
    nothing about the threat's radius (`distances.reach` counts how many it found).
    """
    if not attack.claims or attack.nearest:
        return None
    pairs = [
        (bool(claim), outcome is Outcome.MISCLASSIFIED)
        for claim, outcome in zip(attack.claims, attack.outcomes, strict=True)
        if claim is not None and outcome in ANSWERED
    ]
    if not pairs:
        return None
    return AttackClaim(
        holding=sum(not claimed for claimed, _ in pairs),
        asked=len(pairs),
        overclaimed=sum(claimed and not broken for claimed, broken in pairs),
        overlooked=sum(broken and not claimed for claimed, broken in pairs),
    )
