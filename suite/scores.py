"""One number for each image: how often a defense is right under the worst attack, whatever comes after it.

The score of a board's row lets all images help where attacks tie, so it may change when images are added. A run that
looks at its interval as it grows needs values that do not: what a confidence sequence has bet on stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from purebench.answers import gather
from purebench.errors import PurebenchError
from purebench.leaderboards.results import AttackResult, DefenseResult

Floats = npt.NDArray[np.float64]


def per_image(found: DefenseResult, attacks: Sequence[AttackResult] | None = None) -> Floats:
    """[images] in [0,1], in the board's random order; an image that ERRORED counts as wrong.

    attacks: of the defense, None for all. Raises PurebenchError where no attack applies to an image.
    """
    asked = found.attacks if attacks is None else attacks
    answers = gather([(attack.outcomes, attack.draws) for attack in asked], found.draws)
    if answers is None or not answers.counts.any(axis=0).all():
        raise PurebenchError(f"{found.name}: expected an attack that applies to every image, but there is none.")
    return answers.robust(in_order=True)
