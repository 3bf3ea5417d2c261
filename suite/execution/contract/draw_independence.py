"""Finds defenses that choose something once a call, for all images of it: a model of an ensemble, a crop, a noise.

The draws of an image that pass in one call are then one draw, and say less than their number. Copies of an image within
a call are compared with those of other calls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from purebench.core.defense import Defense, random_layers
from purebench.core.errors import PurebenchError
from purebench.core.protocols import check_logits
from purebench.core.seeds import seeded

CALLS, COPIES = 16, 4
"""Calls, and copies of each image in one: a choice among two models made once a call is missed with 2^-15."""
FEW = 8
"""Calls after which draws that look independent (a p-value above CLEARLY) are believed."""
CLEARLY = 0.2
TRIED = 2
"""Images that are asked; an answer of one alone may be too sure to move."""
FALSE_ALARM = 1e-3
"""Probability to take independent draws for shared ones; each draw is then a call of its own: slower, never wrong."""
ORDERS = 4000
"""Random orders that the variance between calls is compared with, for a p-value down to 1/4001."""
ENOUGH = 20
"""So many orders with as large a variance settle that the draws are taken for independent."""
SHARED = "a random choice is shared by all images of a call: each draw is a call of its own"


@torch.no_grad()
def answers(defense: Defense, x: Tensor, numbers: range, copies: int = COPIES) -> Tensor:
    """Logits [calls,copies,N,K] of images x [N,C,H,W], all copies in one call, a call for each of these seeds."""
    found = []
    many = x.repeat(copies, 1, 1, 1)
    for number in numbers:
        with seeded("draws", str(number), device=x.device):
            found.append(check_logits(defense(many.clone()), len(many)).float())
    return torch.stack(found).view(len(numbers), copies, len(x), -1)


def shares_draws(defense: Defense, x: Tensor) -> bool:
    """Whether draws of a random defense that pass in one call depend on each other; asked at the first images of x.

    They do where copies agree to the bit while calls differ, or where copies vary less than calls do, by a permutation
    test. Raises PurebenchError where nothing ever differs and layers of dropout are switched off, and DefenseFault.
    """
    if not defense.random:
        return False
    found = answers(defense, x[:TRIED], range(FEW))
    alike = bool((found == found[:, :1]).all())
    if not alike and excess_between_calls(found.double().cpu().numpy()) > CLEARLY:
        return False
    found = torch.cat([found, answers(defense, x[:TRIED], range(FEW, CALLS))])
    if bool((found == found[:1, :1]).all()):
        _refuse_silent_dropout(defense)
        return False
    if bool((found == found[:, :1]).all()):
        return True
    return excess_between_calls(found.double().cpu().numpy()) <= FALSE_ALARM


def excess_between_calls(found: npt.NDArray[np.float64]) -> float:
    """One-sided p-value of draws that are independent within a call; answers [calls,copies,images,classes].

    The statistic is the variance of the calls' mean ranks, over all images and classes; under independence draws may
    change places between calls, images together.
    """
    calls, copies = found.shape[:2]
    flat = found.reshape(calls * copies, -1)
    flat = flat[:, flat.std(0) > 0]
    # ranks, so that the heavy tails of one class do not decide alone
    flat = ((flat[:, np.newaxis] > flat).sum(1) + (flat[:, np.newaxis] >= flat).sum(1) + 1) / 2
    flat -= flat.mean(0)
    rng = np.random.default_rng(0)

    def between(rows: npt.NDArray[np.float64]) -> float:
        return float(np.square(rows.reshape(calls, copies, -1).mean(1)).sum())

    observed, at_least = between(flat) * (1 - 1e-12), 0
    for order in range(ORDERS):
        at_least += between(flat[rng.permutation(len(flat))]) >= observed
        if at_least == ENOUGH:  # Besag and Clifford 1991: a large p-value needs no precision
            return ENOUGH / (order + 1)
    return (at_least + 1) / (ORDERS + 1)


def _refuse_silent_dropout(defense: Defense) -> None:
    """Raises PurebenchError where a defense that never answers otherwise has layers of dropout that are off."""
    off = [layer for layer in random_layers(defense) if not layer.training]
    if off:
        raise PurebenchError(
            f"expected a random defense, but {CALLS * COPIES} draws are equal to the last bit, and dropout is off in "
            f"eval mode ({len(off)} layers); keep it on: Defense(keep_random_layers_on(model), random=True), or "
            "declare random=False."
        )
