"""DeepFool (Moosavi-Dezfooli et al. 2016, arXiv:1511.04599, algorithm 2): steps to the nearest linearised boundary.

With f_k - f_y and its gradient w_k at x_i, the class l = argmin_k |f_k - f_y| / |w_k|_q is the nearest, and the
smallest step to its boundary is |f_l - f_y| / |w_l|_q in the direction of steepest ascent, where q is dual to p (eq. 10
and 11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient.losses import others, targeted_margin
from purebench.attacks.min_norm.nearest_search import NearestSearch
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.view import View
from purebench.core.answers import Answer
from purebench.core.errors import PurebenchError
from purebench.core.norms.norm_facts import DENSE
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import MOST, Count, NonNegative
from purebench.core.threat import Knowledge, ThreatModel

BEYOND = 1e-4
"""Added to each step's length, in the units of x: after a step that ends exactly on the boundary, no step would
follow."""


@listed("steps to the nearest boundary of a linear model", norms="linf l2", sees="white-box", bounded=False)
@dataclass(frozen=True, kw_only=True)
class DeepFool(NativeAttack):
    """DeepFool in l2 and linf.

    Attributes:
        steps: Number of linearisations.
        candidates: Number of classes that are considered, including the true one, the most likely ones first; None for
            all.
        overshoot: Share by which the sum of the steps is stretched, to cross the boundary.
    """

    steps: Count = 50
    candidates: Annotated[int, Field(ge=2, le=MOST)] | None = 10
    overshoot: NonNegative = 0.02
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack supports a threat model.

        Raises:
            PurebenchError: If the norm is l1, where every step would move one pixel and the box would stop it.
        """
        if threat.norm not in DENSE:
            raise PurebenchError(f"deepfool: expected the norm {' or '.join(DENSE)}, but got {threat.norm}; use fmn.")

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Return the nearest adversarial examples found; an image is done when it has crossed a boundary.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model, whose radius is not used.

        Raises:
            PurebenchError: If the norm is l1.
        """
        self.check(threat)
        nearest = NearestSearch(view, x, y, threat.norm)
        index = nearest.open()
        clean, others = x[index], self._others(nearest, index)
        point, total = clean, torch.zeros_like(clean)
        for _ in range(self.steps):
            if not len(index):
                break
            step = self._step(view, point, y[index], others, threat.norm)
            total = (clean + total + step).clamp(0, 1) - clean
            point = (clean + (1 + self.overshoot) * total).clamp(0, 1)
            stay = ~nearest.see(index, point, view.scores(point))
            index, clean, point, total, others = (each[stay] for each in (index, clean, point, total, others))
        return nearest.answer()

    def _others(self, nearest: NearestSearch, index: Tensor) -> Tensor:
        """Return the classes other than the true one to consider, the most likely of the clean images first, [M,L]."""
        logits = others(nearest.clean[index], nearest.y[index])
        count = logits.shape[1] if self.candidates is None else min(self.candidates, logits.shape[1])
        return logits.topk(count - 1, dim=1).indices

    def _step(self, view: View, point: Tensor, own: Tensor, others: Tensor, norm: str) -> Tensor:
        """Return the step from points [M,C,H,W] to the nearest of the linearised boundaries, [M,C,H,W]."""
        many = others.shape[1]
        aims = torch.stack([own[:, None].expand_as(others), others], 2).flatten(0, 1)
        look = view.look(point.repeat_interleave(many, 0), aims, targeted_margin)
        direction = NORMS[norm].direction(look.gradient)
        steepness = (
            (look.gradient * direction).flatten(1).sum(1)
        )  # |w|_q: the dual norm is the slope of the steepest ascent
        length = (look.loss.abs() / steepness.clamp_min(1e-12)).view(len(point), many)
        nearest = length.argmin(1)
        chosen = direction.view(len(point), many, *point.shape[1:])[
            torch.arange(len(point), device=point.device), nearest
        ]
        return rows(length.amin(1) + BEYOND, point) * chosen
