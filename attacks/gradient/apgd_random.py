"""The steps of Auto-PGD for random views: annealed step size, along the accumulated gradients.

Auto-PGD halves its step where the loss stopped increasing and goes back to where it was largest. On a random defense
the largest loss is mostly due to chance, and hardly any step increases it. It works better to average the noise over
the steps as well as over the draws: gradients are accumulated as in MI-FGSM (Dong et al. 2018, arXiv:1710.06081), and
the step falls from the radius to zero along half a cosine. `python benchmarks/attacks.py strength --defense noise` (the
bundled ResNet behind noise of 0.1, linf 8/255, 128 images, 40 steps of 8 draws) leaves 31.2 %; plain EOT-PGD leaves
34.3 %, and AutoAttack's package, by the rules of algorithm 1 and filtering on single draws, 44.4 %.
"""

from __future__ import annotations

import math

from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.gradient.apgd_state import RunState
from purebench.attacks.gradient.pgd import normalised
from purebench.core.norms.norms import NORMS
from purebench.core.threat import ThreatModel

DECAY = 0.9
"""Decay of the accumulated gradients at each step."""


class Annealed:
    """Rule of steps for linf and l2 through a random view.

    Attributes:
        steps: Number of steps of the run.
        first: First step size, the radius.
        direction: Steepest-ascent direction of the norm.
    """

    def __init__(self, threat: ThreatModel, steps: int):
        self.steps, self.first = steps, threat.radius
        self.direction = NORMS[threat.norm].direction

    def move(self, run: RunState, k: int) -> Tensor:
        """Return x^(k): a projected step along the accumulated gradients, each divided by its mean absolute value."""
        run.heading = DECAY * run.heading + normalised(run.gradient)
        return run.project(self.direction(run.heading).mul_(rows(run.step, run.x)).add_(run.point))

    def reconsider(self, run: RunState, k: int, *, back: bool) -> None:
        """Set the step size, which falls along half a cosine whatever the loss."""
        run.step = run.step.new_full((len(run.step),), self.first * 0.5 * (1 + math.cos(math.pi * k / self.steps)))
