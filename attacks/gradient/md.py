"""Margin decomposition attacks: MD and MDMT on logits, PMA on probabilities.

MD and MDMT (Ma et al. 2020, arXiv:2006.13726) follow one half of the margin max_{i≠y} z_i - z_y before the whole; PMA
(Xie et al. 2024, arXiv:2411.15210) does the same with the probabilities in place of the logits. A run r = 0, 1 of K
steps with K' = change · K starts at a random point of the ball:

    k = 0          ascends z_y: the first step makes the answer more right, so that the runs spread
    1 ≤ k < K'     ascends -z_y (r = 0) or max_{i≠y} z_i (r = 1)
    k ≥ K'         ascends the margin

The step falls along half a cosine from twice the radius, once for k ≤ K' and once after it. As in the authors' code
both cosines have the period of the second stage, so that the first is cut off where K' < K/2. MDMT (targets > 0) has
z_t of a target class t in place of max_{i≠y} z_i. The option of the authors' code to start along random directions of
the logits (ODI) is left out.

On a random view the gradients are the means over the EOT samples. The mean of PM, which is bounded in [-1,1], is a
smooth stand-in for the share of wrong draws; a mean of margins may be ruled by one confident draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from purebench.attacks.best import Best
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import arrive, check_dense
from purebench.attacks.gradient.runs import Wave, waves
from purebench.attacks.gradient.targets import aims_of_runs, clean_scores
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.look import Loss
from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import Count, CountOrZero, InnerShare
from purebench.core.threat import Knowledge, ThreatModel


def step_length(k: int, steps: int, change: int) -> float:
    """Return the length of step k as a share of the radius, in [0,2].

    Args:
        k: Number of the step, from 0.
        steps: Steps of the run, K.
        change: Step K' from which the whole margin is followed.
    """
    done = (k - 1 if k <= change else k - change - 1) / max(1, steps - change)
    return 1 + math.cos(math.pi * min(max(done, 0.0), 1.0))


@listed("margin decomposition: half of the margin, then the whole", norms="linf l2", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class MD(NativeAttack):
    """Two runs for each restart and target: each follows one term of the margin first, then the whole margin.

    Attributes:
        loss: The margin of the logits (MD) or of the probabilities (pm, PMA).
        steps: Gradients per image and run, at least 2.
        change: Share of the steps before the whole margin is followed. PMA has 0.5, the evaluation of MD 0.4.
        targets: Number of target classes, the most likely wrong ones at the clean image first, each with runs of its
            own (MDMT); 0 for an untargeted attack.
        restarts: Number of pairs of runs, for each target class if there are any.
    """

    loss: Literal["margin", "pm"] = "margin"
    steps: Count = 50
    change: InnerShare = 0.4
    targets: CountOrZero = 0
    restarts: Count = 1
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 2:
            raise PurebenchError(
                f"md: steps: expected at least 2, because the first step makes the answer more right, but got "
                f"{self.steps}; use pgd for a single step."
            )

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            PurebenchError: If the norm is l1, where the steepest step moves a single pixel.
        """
        check_dense("md", threat)
        best, everyone = Best(view, x, y), torch.arange(len(x), device=x.device)
        clean = clean_scores(view, x, self.targets)
        best.see(everyone, x, torch.full((len(x),), -torch.inf, device=x.device), clean, scored=True)
        aims = aims_of_runs(clean, y, self.targets) * self.restarts
        for raises in (False, True):
            for wave in waves(view, best, x, aims):
                self._run(view, wave, threat, best, raises)
        return best.points()

    def _run(self, view: View, wave: Wave, threat: ThreatModel, best: Best, raises: bool) -> None:
        """Run r = 0, or r = 1 if `raises` is True."""
        index, clean, aims = wave.index, wave.x, wave.aims
        whole, direction = losses.find("pm" if self.loss == "pm" else "cw"), NORMS[threat.norm].direction
        change = round(self.change * self.steps)
        point, project = wave.random_start(threat), threat.around(clean)
        for k in range(self.steps):
            look = view.look(point, aims, self._stage(k, change, raises))
            value = losses.mean_over_draws(whole, look.logits, best.y[index])  # comparable between stages and targets
            stay = best.see(index, point, value, look.logits)
            length = threat.radius * step_length(k, self.steps, change)
            point = project(direction(look.gradient).mul_(length).add_(point))
            if not bool(stay.all()):
                index, clean, aims, point = index[stay], clean[stay], aims[stay], point[stay]
                project = threat.around(clean)
                if not len(index):
                    return
        arrive(view, best, index, point, whole)

    def _stage(self, k: int, change: int, raises: bool) -> Loss:
        """Return the loss of step k."""

        def loss(logits: Tensor, aims: Tensor) -> Tensor:
            values = logits.softmax(1) if self.loss == "pm" else logits
            own = values.gather(1, (aims if aims.ndim == 1 else aims[:, 0])[:, None]).squeeze(1)
            if k == 0:
                return own
            if k < change and not raises:
                return -own
            rival = losses.others(values, aims).amax(1) if aims.ndim == 1 else values.gather(1, aims[:, 1:]).squeeze(1)
            return rival if k < change else rival - own

        return loss
