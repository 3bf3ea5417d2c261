"""An attack's own verdict beside ours: libraries count what they think they broke, verification asks again."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.records.record import Outcome
from purebench.results.results import ANSWERED, AttackResult


@dataclass(frozen=True)
class OwnVerdict:
    """What an attack says of itself, over the images for which it said so.

    holding: images that it thinks hold, of `asked`. overclaimed: it calls them misclassified, but they are robust on
    verification. overlooked: it thinks they hold, but they are misclassified.
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
        """Where it differs from verification, and in which direction; empty where it does not."""
        differing = self.overclaimed + self.overlooked
        if not differing:
            return ""
        told = f"its own verdict differs from ours on {differing} of {self.asked} images: "
        ways = [
            f"{self.overclaimed} called misclassified, but robust on verification" if self.overclaimed else "",
            f"{self.overlooked} called robust, but misclassified on verification" if self.overlooked else "",
        ]
        return told + ", ".join(way for way in ways if way)


def own_verdict(attack: AttackResult) -> OwnVerdict | None:
    """The attack's verdict; None where it has none.

    None too for a minimum-norm attack: what it claims is an adversarial image at any distance, which says nothing of
    the threat's radius (how many it found is in `distances.reach`).
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
    return OwnVerdict(
        holding=sum(not claimed for claimed, _ in pairs),
        asked=len(pairs),
        overclaimed=sum(claimed and not broken for claimed, broken in pairs),
        overlooked=sum(broken and not claimed for claimed, broken in pairs),
    )
