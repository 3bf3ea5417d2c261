"""Adds the gradients of the classifier at the intermediate states of a purification.

    loss = Σ_{step,round} ω_{step,round} · loss(f(image of the state after the step))

This is the mode `full_intermediate` of DiffBreak (Kassis et al. 2025, arXiv:2411.16598). ω_{step,round} is proportional
to (step + 1)^(-a) · (round + 1)^(-b), and the weights sum to 1. Step 0 is the last reverse step and round 0 the last
repetition, so that (0, 0) is the purified image itself. It alone is clamped to [0,1]: of a noisy state x_t on [-1,1]
the classifier gets (x_t + 1) / 2, because a clamp would leave its values outside [0,1] without a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from purebench.attacks.views.gradient_modes import exact
from purebench.attacks.views.look import Loss
from purebench.attacks.views.surrogate import required
from purebench.attacks.views.traced import TracedView
from purebench.attacks.views.view import View
from purebench.core.defense import Defense, State
from purebench.core.parameters import NonNegative, checked


@dataclass
class Intermediate(TracedView):
    """The exact view with the loss of the classifier at all states of the purification.

    Attributes:
        a: Power of (step + 1) in the weights.
        b: Power of (round + 1) in the weights.
    """

    a: float = 0.0
    b: float = 0.0

    def objective(self, states: Sequence[State], labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the weighted loss of all states [M], and the logits of the last one [M,K]."""
        sizes = [float((one.step + 1) ** -self.a * (one.round + 1) ** -self.b) for one in states]
        total, logits = self.linearised(states[-1].image, labels, loss)
        total = total * (sizes[-1] / sum(sizes))
        for state, size in zip(reversed(states[:-1]), reversed(sizes[:-1]), strict=True):
            if size > 0:
                total = total + size / sum(sizes) * self.linearised(state.image, labels, loss)[0]
        return total, logits


@checked("intermediate")
def intermediate(defense: Defense, *, eot: int = 1, a: NonNegative = 0.0, b: NonNegative = 0.0) -> View:
    """Use the exact gradient of the loss at all intermediate states of the purification, weighted.

    The logits are those of the purified image. A purifier without intermediate states raises Inapplicable when the view
    is used. A pass counts as one, although the classifier is evaluated at every state.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
        a: Power of 1 + the number of steps that follow in the round, by which the weight of a state is divided.
        b: Power of 1 + the number of rounds that follow, likewise.

    Raises:
        Inapplicable: If the defense has no purifier, or no gradient comes through it.
    """
    required(defense)
    plain = exact(defense, eot=eot)
    return Intermediate(plain.defense, plain.purify, plain.random, plain.decides, eot, a=a, b=b)
