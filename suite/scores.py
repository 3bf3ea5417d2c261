"""One number for each image: how often a defense is right under the worst attack, whatever the other images.

The score of a board's row lets images help each other where attacks tie (see `robust_per_image`), so it may change when
images are added. A run that looks at its interval as it grows needs values that do not: the bets of a confidence
sequence on image i may know the images before it only, and what was bet on stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from purebench.errors import PurebenchError
from purebench.leaderboards.results import AttackResult, DefenseResult
from purebench.records import Outcome
from purebench.statistics import robust_per_image

Floats = npt.NDArray[np.float64]


def per_image(found: DefenseResult, attacks: Sequence[AttackResult] | None = None) -> Floats:
    """[images] in [0,1], in the board's random order; an image that ERRORED counts as wrong.

    attacks: of the defense, None for all. The attack of an image is picked on one half of its draws and scored on the
    other; attacks that tie on it share. Raises PurebenchError where no attack applies to an image.
    """
    asked = [attack for attack in (found.attacks if attacks is None else attacks) if not attack.skipped]
    counts = np.array([[outcome is not Outcome.SKIPPED for outcome in attack.outcomes] for attack in asked])
    if not asked or not counts.any(axis=0).all():
        raise PurebenchError(f"{found.name}: expected an attack that applies to every image, but there is none.")
    right = np.stack([found.right(attack) for attack in asked])
    each = [robust_per_image(right[:, i : i + 1], counts[:, i : i + 1]) for i in range(right.shape[1])]
    return np.concatenate(each)
