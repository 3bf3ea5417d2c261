"""Carlini & Wagner's l2 attack (2017, arXiv:1608.04644, section VI-A), untargeted.

Minimises |x' - x|² + c·f(x') over w, where x' = (tanh(w) + 1)/2 always lies in [0,1] and f(x') = max(Z(x')_y -
max_{i≠y} Z(x')_i, -kappa); a binary search finds the smallest c for which the result is adversarial.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.losses import margin
from purebench.attacks.min_norm.nearest_search import NearestSearch
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.view import View
from purebench.core.answers import Answer
from purebench.core.errors import PurebenchError
from purebench.core.parameters import Count, NonNegative, Positive
from purebench.core.threat import Knowledge, ThreatModel

SHRUNK = 0.99
"""Share of the way from mid grey at which w starts: at 0 and 1 themselves tanh is flat and w infinite.

The reference implementation takes 0.999999, from where a black pixel, and most of Fashion-MNIST is black, needs
hundreds of steps to move at all.
"""
LEAK = 1e-6
"""Slope of -f beyond kappa: negligible, but not zero, so that a gradient of exactly zero always means that it is
masked."""
LAST_DRAWS = 16
"""Draws of a random defense at the last point of a search."""


@dataclass
class Adam:
    """State of Adam (Kingma & Ba 2015) for the images that the current c is still tried on, one row each.

    Attributes:
        index: Which image, [M].
        x: The clean image, [M,C,H,W].
        w: Optimised variable; that of this attack is x' = (tanh(w) + 1)/2.
        mean: First moment of the gradient.
        square: Second moment of the gradient.
        loss: Loss at the last checkpoint, [M].
    """

    index: Tensor
    x: Tensor
    w: Tensor
    mean: Tensor
    square: Tensor
    loss: Tensor

    def keep(self, mask: Tensor) -> None:
        """Keep the rows where the mask [M] is True, and drop those of images that leave."""
        if not bool(mask.all()):
            for entry in fields(self):
                setattr(self, entry.name, getattr(self, entry.name)[mask])

    def step(self, gradient: Tensor, rate: float | Tensor, k: int) -> None:
        """Take a step against the gradient.

        Args:
            gradient: Gradient with respect to w, of the shape of w.
            rate: Learning rate; a tensor that broadcasts with w for one per image.
            k: Number of the step, from 1.
        """
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient.square()
        mean, square = self.mean / (1 - 0.9**k), self.square / (1 - 0.999**k)
        self.w = self.w - rate * mean / (square.sqrt() + 1e-8)


@listed("Carlini & Wagner", norms="l2", sees="white-box", bounded=False)
@dataclass(frozen=True, kw_only=True)
class CW(NativeAttack):
    """Carlini & Wagner's l2 attack.

    Attributes:
        searches: Number of values of c that are tried.
        steps: Gradients for each value of c.
        rate: Adam's learning rate.
        c: First value of c.
        kappa: Confidence, the required margin.
        leave: Whether an image leaves a search that lowered its loss by less than a ten-thousandth in a tenth of the
            steps (not on a random defense, whose loss is noisy).
    """

    searches: Count = 9
    steps: Count = 100
    rate: Positive = 0.03
    c: Positive = 1e-3
    kappa: NonNegative = 0.0
    leave: bool = True
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack supports a threat model.

        Raises:
            PurebenchError: If the norm is not l2.
        """
        if threat.norm != "l2":
            raise PurebenchError(f"cw: expected the norm l2, but got {threat.norm}; use fmn or apgd(loss=cw).")

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Return the nearest adversarial examples found, in l2.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model, whose radius is not used.

        Raises:
            PurebenchError: If the norm is not l2.
        """
        self.check(threat)
        nearest = NearestSearch(view, x, y, threat.norm, self.kappa)
        index = nearest.open()
        c = torch.full((len(index),), self.c, device=x.device)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for _ in range(self.searches):
            if not len(index):
                break
            success = self._minimise(view, nearest, index, c)
            success &= ~nearest.settle()[index]
            low, high = torch.where(success, low, c), torch.where(success, c, high)
            c = torch.where(high < torch.inf, (low + high) / 2, 10 * c)
        return nearest.answer()

    def _minimise(self, view: View, nearest: NearestSearch, index: Tensor, c: Tensor) -> Tensor:
        """Run Adam on the images at `index`; return where it found an adversarial point, bool [M]. c: constants [M].

        On a random defense only the last point counts: a run starts among the nearest points, some of which look wrong.
        """
        x = nearest.x[index]
        w = torch.atanh((2 * x - 1) * SHRUNK)
        state = Adam(index, x, w, torch.zeros_like(w), torch.zeros_like(w), torch.full_like(c, torch.inf))
        success = torch.zeros_like(nearest.distance, dtype=torch.bool)
        weight = torch.zeros_like(nearest.distance)
        weight[index] = c

        def minus_f(logits: Tensor, labels: Tensor) -> Tensor:
            lead = margin(logits, labels)
            return torch.where(lead < self.kappa, lead, self.kappa + LEAK * (lead - self.kappa))

        for k in range(1, self.steps + 1):
            point = (state.w.tanh() + 1) / 2
            look = view.look(point, nearest.y[state.index], minus_f)
            if not view.random:
                success[state.index[nearest.see(state.index, point, look.logits)]] = True
            c_here, delta = weight[state.index], point - state.x
            gradient = 2 * delta - rows(c_here, point) * look.gradient
            state.step(gradient * 2 * point * (1 - point), self.rate, k)  # dx'/dw = (1 - tanh²)/2 = 2x'(1 - x')
            if self.leave and not view.random and (k - 1) % -(-self.steps // 10) == 0:
                loss = delta.flatten(1).square().sum(1) - c_here * look.loss
                falls = loss <= torch.where(state.loss < torch.inf, 0.9999 * state.loss, torch.inf)
                state.loss = loss
                state.keep(falls)
                if not len(state.index):
                    break
        if view.random:
            point = (state.w.tanh() + 1) / 2
            success[index] = nearest.see(index, point, view.scores(point, LAST_DRAWS))
        return success[index]
