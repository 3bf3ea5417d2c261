"""Detects defenses that make one random choice per call for all images: a model of an ensemble, a crop, a noise.

The draws of an image that pass in one call are then a single draw, and contain less information than their number
suggests. Copies of an image within a call are compared with those of other calls.
"""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from purebench.core.answers import check_logits
from purebench.core.defense import Defense, random_layers
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded

CALLS, COPIES = 16, 4
"""Calls, and copies of each image in one call: a choice among two models made once per call is missed with a
probability of 2^-15."""
FEW = 8
"""Calls after which draws that look independent (a p-value above CLEARLY) are accepted."""
CLEARLY = 0.2
TRIED = 2
"""Number of images that are passed; the answer to a single image may be too confident to change."""
FALSE_ALARM = 1e-3
"""Probability that independent draws are taken for shared ones; each draw is then a separate call, which is slower
but not wrong."""
ORDERS = 4000
"""Random orders with which the variance between calls is compared, for a p-value down to 1/4001."""
ENOUGH = 20
"""Number of orders with as large a variance after which the draws are accepted as independent."""
RESEEDED = (
    "expected a random defense that draws from torch's generator, but it sets its own seed, so that all calls give "
    "the same draws; remove the seed, or declare random=False."
)
SHARED = "all images of a call share a random choice, so each draw needs a separate call"


@torch.no_grad()
def answers(defense: Defense, x: Tensor, numbers: range, copies: int = COPIES) -> Tensor:
    """Return logits [calls,copies,N,K]: one call for each seed, with all copies in one call.

    Args:
        defense: the defense.
        x: images [N,C,H,W].
        numbers: the seeds, one per call.
        copies: copies of each image in a call.
    """
    found = []
    many = x.repeat(copies, 1, 1, 1)
    for number in numbers:
        with seeded("draws", str(number), device=x.device):
            found.append(check_logits(defense(many.clone()), len(many)).float())
    return torch.stack(found).view(len(numbers), copies, len(x), -1)


def shares_draws(defense: Defense, x: Tensor) -> bool:
    """Return whether draws of a random defense in one call depend on each other.

    They do if copies agree exactly while calls differ, or if copies vary less than calls do, by a permutation test.

    Args:
        defense: the defense.
        x: images [N,C,H,W], of which the first are passed.

    Raises:
        PurebenchError: all draws are equal, and dropout layers are switched off; or the defense seeds its random
            numbers itself.
        DefenseFault: the logits are invalid.
    """
    if not defense.random:
        return False
    found = answers(defense, x[:TRIED], range(FEW))
    alike = bool((found == found[:, :1]).all())
    if (not alike and bool((found == found[:1]).all())) or _leaves_a_seed(defense, x[:TRIED]):
        raise PurebenchError(RESEEDED)
    if not alike and excess_between_calls(found.double().cpu().numpy()) > CLEARLY:
        return False
    found = torch.cat([found, answers(defense, x[:TRIED], range(FEW, CALLS))])
    if bool((found == found[:1, :1]).all()):
        _refuse_silent_dropout(defense)
        return False
    if bool((found == found[:, :1]).all()):
        return True
    return excess_between_calls(found.double().cpu().numpy()) <= FALSE_ALARM


@torch.no_grad()
def _leaves_a_seed(defense: Defense, x: Tensor) -> bool:
    """Return whether a generator has the same state after calls under two seeds: the next draws would be the same."""
    after = []
    for number in range(2):
        with seeded("draws", str(number), device=x.device):
            defense(x.clone())
            numpy = np.random.get_state(legacy=False)["state"]
            states = [torch.get_rng_state().numpy().tobytes(), numpy["key"].tobytes(), repr(random.getstate())]
            if x.device.type == "cuda":
                states.append(torch.cuda.get_rng_state(x.device).numpy().tobytes())
            after.append(states)
    return any(one == other for one, other in zip(*after, strict=True))


def excess_between_calls(found: npt.NDArray[np.float64]) -> float:
    """Return the one-sided p-value of the hypothesis that draws are independent within a call.

    The statistic is the variance of the calls' mean ranks, over all images and classes. Under independence, draws are
    exchangeable between calls, with all images together.

    Args:
        found: logits [calls,copies,images,classes].
    """
    calls, copies = found.shape[:2]
    flat = found.reshape(calls * copies, -1)
    flat = flat[:, flat.std(0) > 0]
    # ranks, so that the heavy tails of a single class do not dominate
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
    """Raise PurebenchError if a defense without any randomness has dropout layers that are off."""
    off = [layer for layer in random_layers(defense) if not layer.training]
    if off:
        raise PurebenchError(
            f"expected a random defense, but {CALLS * COPIES} draws are equal to the last bit, because dropout is "
            f"off in eval mode ({len(off)} layers); keep it on with Defense(keep_random_layers_on(model), "
            "random=True), or declare random=False."
        )
