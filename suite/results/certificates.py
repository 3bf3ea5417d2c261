"""What a defense proves of itself: the share of images with a certificate at least as large as the threat."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.core.threat import parse_radius
from purebench.records.record import Outcome
from purebench.results.results import AttackResult, DefenseResult
from purebench.statistics import Estimate, security_curve


@dataclass(frozen=True)
class Certificates:
    """The certified radii of a defense's images, in the threat's norm.

    attack: the name of what asked for them. distances: one an image, 0 where the answer is wrong, the defense abstained
    or an error came between. estimate: the share whose radius is above the threat's, Clopper–Pearson over the images,
    or a betting sequence if anytime: results decided where the run ended.
    """

    attack: str
    distances: tuple[float | None, ...]
    estimate: Estimate
    anytime: bool = False


def certifies(attack: AttackResult) -> bool:
    """Whether this is a certificate and no attack."""
    return bool(attack.certified)


def certificates(result: DefenseResult) -> Certificates | None:
    """The certified radii of a defense; None where nothing asked for them, or it has none.

    Of several the first counts: the larger of two radii would be wrong with twice the probability. Images that a
    cascade spared it, broken as they are, count as not certified.
    """
    asked = next((attack for attack in result.attacks if certifies(attack)), None)
    if asked is None:
        return None
    wrong = (Outcome.ERRORED, Outcome.SKIPPED)
    radii = tuple(
        0.0 if radius is None or outcome in wrong else radius
        for radius, outcome in zip(asked.certified, asked.outcomes, strict=True)
    )
    radius = parse_radius(result.board["threat"]["radius"])
    (proven,) = security_curve(radii, [radius], result.board["confidence"], anytime=result.anytime)
    return Certificates(asked.name, radii, proven, result.anytime)
