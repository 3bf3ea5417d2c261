"""Attack optimality: how near an attack comes to the best one known (AttackBench: Cinà et al. 2024, arXiv:2404.19460).

AttackBench compares the security curve of an attack, accuracy against radius, with the curve of the smallest distance
that any attack found for each image. The local optimality of an attack on a model is

    1 - (area between its curve and the best curve) / (area between the constant clean accuracy and the best curve)

up to the radius at which the best curve reaches 0: 1 for an attack that is the best on every image, 0 for one that
finds nothing. The global optimality is the mean over models.

Adapted here: most attacks of a board keep to one radius and have no curve. For these, and for random defenses, whose
draws have no distance, the areas are replaced by the accuracies at the radius of the board, `at_radius`; `over_radii`
is AttackBench's own, for minimum-norm attacks on deterministic rows. It ends at the largest distance at which any image
was broken first, because images that no attack broke at any distance keep the best curve above 0. The models are the
rows of the board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.distances import reach
from purebench.results.grading.best_known import best_known
from purebench.results.results import ANSWERED, CLEAN, DefenseResult

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Optimality:
    """The optimality of one attack on one row.

    Attributes:
        attack: the name of the attack.
        at_radius: the share in [0,1] of the accuracy that the best attack of each image takes away at the board's
            radius that this attack takes away too; None where nothing is taken away.
        over_radii: the same of the areas of security curves; None for attacks without a limit of the distance only.
        images: the number of images.
    """

    attack: str
    at_radius: float | None
    over_radii: float | None
    images: int


def optimality(result: DefenseResult) -> tuple[Optimality, ...]:
    """Return the local optimality of each attack on a row that answered on all images.

    The best accuracy is that at the adversarial example picked for each image among those of all attacks, for a random
    defense on fresh draws, so that chance does not make it lower. Attacks that are bespoke to the row count: it is the
    best known accuracy of such a row, and else its robust accuracy.

    Args:
        result: the result of the row.

    Returns:
        One value per attack in the board's order; empty without an attack named "clean", which gives the accuracy
            before the attacks, without a robust accuracy, and in a cascade, whose attacks have different images.
    """
    clean = next((attack for attack in result.attacks if attack.name == CLEAN and _whole(attack)), None)
    attacks = [attack for attack in result.attacks if attack.name != CLEAN and not attack.certified and _whole(attack)]
    robust = best_known(result) or (result.robust if result.attacked else None)
    if clean is None or robust is None or not attacks or result.cascade:
        return ()
    start = float(result.right(clean).mean())
    curves = {} if result.random else _over_radii(result, clean, attacks)
    return tuple(
        Optimality(
            attack.name,
            _share(start, float(result.right(attack).mean()), robust.value),
            curves.get(attack.name),
            len(result.images),
        )
        for attack in attacks
    )


def global_optimality(rows: Sequence[Sequence[Optimality]]) -> dict[str, float]:
    """Return the mean of each attack's local optimality at the radius over the rows where it has one."""
    found: dict[str, list[float]] = {}
    for row in rows:
        for one in row:
            if one.at_radius is not None:
                found.setdefault(one.attack, []).append(one.at_radius)
    return {attack: float(np.mean(values)) for attack, values in found.items()}


def _whole(attack: AttackResult) -> bool:
    return all(outcome in ANSWERED for outcome in attack.outcomes)


def _share(start: float, left: float, best: float) -> float | None:
    return None if start <= best else float(min(max((start - left) / (start - best), 0.0), 1.0))


def _over_radii(
    result: DefenseResult, clean: AttackResult, attacks: Sequence[AttackResult]
) -> Mapping[str, float | None]:
    """Return the optimality over radii of each minimum-norm attack.

    The area under a security curve up to a radius R is the mean of min(distance, R) over the images, with distance 0
    for an image that is misclassified without an attack.
    """
    right = result.right(clean).all(axis=1)
    searching = [attack for attack in attacks if reach(attack) is not None]
    distances = {attack.name: np.where(right, _distances(attack), 0.0) for attack in searching}
    if not distances:
        return {}
    inside = [np.where(right, _inside(attack), 0.0) for attack in attacks]
    best: Floats = np.minimum.reduce([*distances.values(), *inside])
    found = best[np.isfinite(best)]
    most = float(found.max()) if found.size else 0.0
    start = most * float(right.mean())
    areas = {name: float(np.minimum(of, most).mean()) for name, of in distances.items()}
    return {name: _share(start, area, float(np.minimum(best, most).mean())) for name, area in areas.items()}


def _distances(attack: AttackResult) -> Floats:
    """Return the distance that a minimum-norm attack found for each image, infinite where it found none."""
    return np.array([np.inf if distance is None else distance for distance in attack.nearest], dtype=np.float64)


def _inside(attack: AttackResult) -> Floats:
    """Return the distance at which any attack broke each image within the radius, infinite where it did not."""
    broken = [outcome is Outcome.MISCLASSIFIED for outcome in attack.outcomes]
    pairs = zip(broken, attack.distances, strict=True)
    return np.array([d if yes and d is not None else np.inf for yes, d in pairs], dtype=np.float64)
