"""Compares what a defense declares under `random` with its answers, before a board is run on it."""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.core.answers import check_logits
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.execution.contract.draw_independence import shares_draws

CALLS = 8
"""Calls under different seeds, all of which must agree before a defense counts as deterministic."""
TOLERANCE = 1e-4
"""Largest difference of equal logits, as a share of the largest logit: rounding on a GPU is smaller."""


@torch.no_grad()
def check_declared_random(defense: Defense, x: Tensor) -> str | None:
    """Check that a defense is as random as it declares.

    Args:
        defense: a copy of the defense, which is not used afterwards.
        x: images [N,C,H,W] in [0,1].

    Returns:
        A sentence if a defense with random=True looks deterministic: images purified under different seeds, and their
        logits, are equal to the last bit. This is no error, because rounding may hide rare or small differences.

    Raises:
        PurebenchError: a defense with random=False answers differently under another seed; or all draws of a random
            defense are equal because it seeds random numbers itself, or because its dropout is switched off.
    """
    purified, logits = _draw(defense, x, 0)
    if not defense.random:
        _, other = _draw(defense, x, 1)
        if not torch.allclose(logits, other, rtol=0, atol=TOLERANCE * float(logits.abs().max())):
            raise PurebenchError(
                "expected equal answers from a defense with random=False, but two calls differ; declare "
                "random=True (in a class, the line `random = True`), or remove its state."
            )
        return None
    for number in range(1, CALLS):
        again, other = _draw(defense, x, number)
        if not torch.equal(again, purified) or not torch.equal(other, logits):
            return None
    shares_draws(defense, x)  # raises an error that names the cause, if it knows one
    return (
        f"it declares random=True, but {CALLS} draws are equal to the last bit; if it is not random, declare "
        "random=False, so that one draw per image is enough"
    )


def _draw(defense: Defense, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the purified images and the logits [N,K] of one call."""
    with seeded("declared random", str(number), device=x.device):
        purified = defense.purify(x.clone())
        return purified, check_logits(defense.classifier(purified), len(x))
