"""How near the adversarial images are: what minimum-norm attacks found, by attack and image by image."""

from __future__ import annotations

from dataclasses import dataclass

from purebench.core.threat import parse_radius
from purebench.records.record import Outcome
from purebench.results.results import ANSWERED, AttackResult, DefenseResult
from purebench.statistics import median_distance

NORM_SIGNS = {"linf": "ℓ∞", "l2": "ℓ2", "l1": "ℓ1"}


@dataclass(frozen=True)
class Reach:
    """What a minimum-norm attack found: adversarial images for `found` of the `asked` ones.

    median: distance over all asked, infinite where none was found; None where that makes the median infinite.
    """

    median: float | None
    found: int
    asked: int


@dataclass(frozen=True)
class Nearest:
    """The smallest distance at which anything broke each image of a defense.

    distances: one an image, None where nothing broke it; 0 where the image itself is wrong, or where an attack ERRORED,
    which never counts as robust. attacks: the minimum-norm ones. missing, errored: how many distances are None, or 0
    for an error; spared: images that no minimum-norm attack was asked about, because a cascade had broken them before.
    anytime: whether results decided where the run ended, so that intervals must hold at any time.
    """

    distances: tuple[float | None, ...]
    attacks: tuple[str, ...]
    missing: int
    errored: int
    spared: int
    anytime: bool = False


def reach(attack: AttackResult) -> Reach | None:
    """What the attack found; None if it is no minimum-norm attack, or answered for no image."""
    asked = [d for d, outcome in zip(attack.nearest, attack.outcomes, strict=False) if outcome in ANSWERED]
    if not asked:
        return None
    return Reach(median_distance(asked), sum(distance is not None for distance in asked), len(asked))


def nearest(result: DefenseResult) -> Nearest | None:
    """The images' smallest distances; None without a minimum-norm attack that answered.

    The images with which other attacks broke the defense count as well, at their distance: so for a deterministic
    defense the share above the threat's radius is its robust accuracy, with a cascade or without.
    An image is left out where no minimum-norm attack was asked about it and nothing broke it.
    """
    searching = [attack for attack in result.attacks if reach(attack) is not None]
    if not searching:
        return None
    radius = parse_radius(result.board["threat"]["radius"])
    distances: list[float | None] = []
    errored = spared = 0
    for image in range(len(result.images)):
        asked = any(attack.outcomes[image] in ANSWERED for attack in searching)
        if any(attack.outcomes[image] is Outcome.ERRORED for attack in result.attacks):
            errored += 1
            distances.append(0.0)
        elif known := _known(result, image, radius):
            spared += not asked
            distances.append(min(known))
        elif asked:
            distances.append(None)
    names = tuple(attack.name for attack in searching)
    return Nearest(tuple(distances), names, distances.count(None), errored, spared, result.anytime)


def _known(result: DefenseResult, image: int, radius: float) -> list[float]:
    """The distances at which an image was broken; those under the threat model pass the radius by rounding only."""
    found = [attack.nearest[image] for attack in result.attacks if attack.nearest]
    inside = [attack.distances[image] for attack in result.attacks if attack.outcomes[image] is Outcome.MISCLASSIFIED]
    return [d for d in found if d is not None] + [min(d, radius) for d in inside if d is not None]


def distance_text(norm: str, distance: float | None) -> str:
    """A distance as people of the norm write it: "8.7/255" for linf, "0.034" for the others; "∞" for None."""
    if distance is None:
        return "∞"
    return f"{255 * distance:.1f}/255" if norm == "linf" else f"{distance:.3g}"
