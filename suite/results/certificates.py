"""Certified accuracy: the share of images whose certified radius is at least the threat's radius."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.core.threat import parse_radius
from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate, security_curve


@dataclass(frozen=True)
class Certificates:
    """The certified radii of a defense's images, in the threat's norm.

    Attributes:
        attack: the name of the attack of the board that computes the certificates.
        distances: one radius per image, 0 where the answer is wrong, the defense abstained or an error occurred.
        estimate: the share of images whose radius is above the threat's radius; a Clopper–Pearson interval over the
            images, or a betting sequence if `anytime`.
        anytime: whether the results determined where the run ended.
    """

    attack: str
    distances: tuple[float | None, ...]
    estimate: Estimate
    anytime: bool = False


def certifies(attack: AttackResult) -> bool:
    """Return whether this is a certificate and not an attack."""
    return bool(attack.certified)


def certificates(result: DefenseResult) -> Certificates | None:
    """Return the certified radii of a defense, or None if there are no certificates.

    If there are several certificates, the first is used: the larger of two radii would be wrong with twice the
    probability. Images that were broken before in a cascade, and were therefore not certified, count as not certified.
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
