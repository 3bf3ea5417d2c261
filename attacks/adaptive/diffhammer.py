"""DiffHammer (Wang, Fu, Han & Xiang, NeurIPS 2024): follows draws of a random defense that can be broken together.

The gradients of a random defense's draws may point apart. Their mean, the gradient of EOT, is then a compromise that
breaks none of the draws. DiffHammer selects draws whose gradients agree by an expectation-maximisation (EM) step, on
gradients at the purified images, and differentiates a single purification (gradient grafting): an iteration costs D
forwards and one forward with backward, where EOT costs D forwards and D backwards.

The selection sees only conflicts that show at the purified image. If it is the purifier's Jacobian that differs between
the draws, `graft=false` selects on the gradients at the image, for D forwards with backward more.

Deviations from the released code:

- The released EM loop never uses what it computed before, so any number of its iterations is one. `em_steps=1` is as
  released; larger values iterate the weights towards a fixed point, as the algorithm says.
- `dlr` has 1e-12 in the denominator, as in AutoAttack; the released code has 1e-3.
- The released step adds a quarter of the move since the random start, because the last point is never updated. Here it
  is the last move, as in Auto-PGD (arXiv:2003.01690, algorithm 1).
- The first draws of a run are at the random start instead of the clean image, so that the first gradient belongs to
  the point that it moves.
- A run goes back to its best point only for images whose step is halved, as in Auto-PGD; in the released code all
  images of a batch go back at each checkpoint.
- The pull-back replays all random numbers of the selected draw. The released code replays those of the forward
  diffusion only.
- The backward pass uses the defense's own steps; the released code takes fewer and longer ones.
- One draw is followed in each iteration (`n_eot=1`, the default of the released code).
- Images leave, and runs compete, by fresh draws as in all attacks here; the released code leaves out images of which
  more than half of the draws were wrong once. Every run attacks all images that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from purebench.attacks.best import Best
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import Momentum
from purebench.attacks.gradient.apgd_state import RunState
from purebench.attacks.gradient.pgd import arrive, check_dense
from purebench.attacks.gradient.runs import random_start
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.look import Look, Loss
from purebench.attacks.views.view import View
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import Count, NonNegative
from purebench.core.threat import Knowledge, ThreatModel

RHO = 0.75
"""Share of steps that must increase the largest loss of the draws for the step size to stay."""


def most_helpful(loss: Tensor, gradients: Tensor, threat: ThreatModel) -> Tensor:
    """Return the draw of each image whose step increases the losses of the draws most, [N] (step E1).

    It is argmax_i sum_j elu(L_j + eps·<d(g_i), g_j>) with d the steepest-ascent direction of the norm.

    Args:
        loss: Loss L of each draw, [N,D].
        gradients: Gradient g of each draw, flat, [N,D,P].
        threat: The threat model, with the norm and the radius eps.
    """
    steps = NORMS[threat.norm].direction(gradients.flatten(0, 1)).view_as(gradients)
    gains = threat.radius * steps @ gradients.transpose(1, 2)
    return functional.elu(loss[:, None] + gains).sum(2).argmax(1)


def agreed(start: Tensor, loss: Tensor, gradients: Tensor, norm: str, *, lam: float, em_steps: int) -> Tensor:
    """Return the mean gradient of the draws that agree with a gradient r, [N,P] (step E2).

    It is r ← sum_j w_j g_j / sum_j w_j with w_j = sigmoid(lam·(L_j + <d(r), g_j>)), `em_steps` times.

    Args:
        start: The first r, [N,P].
        loss: Loss L of each draw, [N,D].
        gradients: Gradient g of each draw, flat, [N,D,P].
        norm: Name of the norm of the steepest-ascent direction d.
        lam: Sharpness of the weights; 0 gives the mean of all draws.
        em_steps: Number of iterations.
    """
    followed = start
    for _ in range(em_steps):
        gains = (gradients @ NORMS[norm].direction(followed)[:, :, None]).squeeze(2)
        # the softmax of the logarithms divides the weights by their sum, without underflow
        weights = functional.logsigmoid(lam * (loss + gains)).softmax(1)
        followed = (weights[:, :, None] * gradients).sum(1)
    return followed


@listed("follows draws that can be broken together", norms="linf l2", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class DiffHammer(NativeAttack):
    """DiffHammer: EM over the draws' gradients, gradient grafting, and the steps of Auto-PGD.

    Attributes:
        steps: Gradients per image and run.
        draws: Draws D of each gradient. They take the place of the view's EOT samples.
        lam: Sharpness lambda of the weights; 0 gives the mean of the draws' gradients.
        decay: Exponent alpha of the gradient's momentum: at iteration k = 0, 1, … the new gradient counts (k+1)^-alpha,
            and the last one the rest.
        em_steps: Iterations of EM; 1 is as released.
        graft: Select on gradients at the purified images, and pull the result back through one draw. Otherwise the
            gradients at the image of all draws are computed, and one of them need not be pulled back.
        losses: Names of the losses; run number r uses the r-th, from the first again after the last.
        restarts: Number of runs.
    """

    steps: Count = 50
    draws: Count = 10
    lam: NonNegative = 5.0
    decay: NonNegative = 0.5
    em_steps: Count = 1
    graft: bool = True
    losses: Sequence[str] = ("cw", "ce", "dlr")
    restarts: Count = 3
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.losses, str) or not self.losses:
            raise PurebenchError(f"losses: expected a list such as [cw, ce], but got {self.losses!r}.")
        for name in self.losses:
            losses.find(name)

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If the view is deterministic, a loss needs more classes, or the purifier does not repeat its
                answer with the same random numbers.
            PurebenchError: If the norm is l1.
        """
        check_dense("diffhammer", threat)
        if not view.random:
            raise Inapplicable("for random defenses: the draws of a deterministic one are all equal; use apgd")
        best, everyone = Best(view, x, y), torch.arange(len(x), device=x.device)
        clean, used = view.scores(x, self.draws), [losses.find(name) for name in self.losses]
        for loss in used:
            loss(clean[:, 0], y)  # raises Inapplicable before the first run if there are too few classes
        best.see(everyone, x, torch.zeros(len(x), device=x.device), clean, scored=True)
        for number in range(self.restarts):
            index = best.open.nonzero().squeeze(1)
            if len(index):
                loss = used[number % len(used)]
                run = self.climb(view, x[index], y[index], threat, loss, index, best)
                arrive(view, best, run.index, run.point, losses.margin)  # the losses of two runs are not comparable
        return best.points()

    def climb(
        self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, loss: Loss, index: Tensor, best: Best
    ) -> RunState:
        """Run the loop from a random point; the last point is not evaluated, and broken images leave.

        Args:
            view: The defense as the attack sees it.
            x: Images [M,C,H,W] in [0,1].
            y: Labels [M].
            threat: The threat model.
            loss: The loss.
            index: Which images they are in `best`, [M].
            best: The best points so far.

        Returns:
            The state after the last move.
        """
        rule, point = Momentum(threat, self.steps, RHO), random_start(x, threat)
        look, mean = self.look(view, point, y, threat, loss)
        run = RunState.begin(index, x, y, point, look, threat, rule.first)
        run.keep(best.see(index, point, mean, look.logits))
        for k in range(1, self.steps + 1):
            if not len(run.index):
                break
            run.before, run.point = run.point, rule.move(run, k)
            if k == self.steps:
                break
            look, mean = self.look(view, run.point, run.aims, threat, loss)
            new = (k + 1) ** -self.decay
            run.see(Look(look.loss, new * look.gradient + (1 - new) * run.gradient, look.logits), back=True)
            run.keep(best.see(run.index, run.point, mean, look.logits))
            rule.reconsider(run, k, back=True)
        return run

    def look(self, view: View, point: Tensor, y: Tensor, threat: ThreatModel, loss: Loss) -> tuple[Look, Tensor]:
        """Evaluate fresh draws at some points, and select the gradient to follow.

        Args:
            view: The defense as the attack sees it.
            point: Points [M,C,H,W] in [0,1].
            y: Labels [M].
            threat: The threat model.
            loss: The loss.

        Returns:
            The largest loss of the draws, the gradient to follow, and the logits of all draws; and the mean loss [M].
        """
        found = view.draws_at(point, y, loss, self.draws)
        gradients, every = found.cotangent, torch.arange(self.draws, device=point.device)
        if not self.graft:
            gradients = found.pull_back(gradients, every.expand(len(point), -1))
        flat, everyone = gradients.flatten(2), torch.arange(len(point), device=point.device)
        pick = most_helpful(found.loss, flat, threat)
        followed = agreed(
            flat[everyone, pick], found.loss, flat, threat.norm, lam=self.lam, em_steps=self.em_steps
        ).view_as(gradients[:, 0])
        gradient = found.pull_back(followed, pick) if self.graft else followed
        return Look(found.loss.amax(1), gradient, found.logits), found.loss.mean(1)
