"""DiffAttack's deviated-reconstruction loss (Kang et al. 2023, arXiv:2311.16124) in the steps of `APGD`.

    loss(f(P(x'))) + λ · mean over the chosen t of α(t) · MSE(x_t, x_t⁰)

x_t is the state of the purification at noise level t, and x_t⁰ = sqrt(ᾱ_t)·(2x' - 1) + sqrt(1 - ᾱ_t)·ξ the input at the
same level with the noise ξ of the same forward process. The authors' code was never complete, and two released versions
differ from the paper and from each other. The settings reproduce their objectives, up to the scale of the whole. The
released attacks take Auto-PGD's steps. Here the steps are those of `APGD` on random defenses, because every purifier
with such states is random.

* paper: `levels=10`, `reference=through`, `weight=alpha`; λ is not known to us.
* DiffBreak (commit 50f8705): all levels, `reference=fixed`, `weight=equal`, λ = the number of levels, because the loss
  of the classifier and the error of each level have equal weights there.
* DiffHammer (commit 1010822): all levels, `reference=through`, `weight=alpha-bar`, λ = 0.5. Its reference diffuses the
  already noised input a second time, and its backward pass takes fewer steps than its forward pass; both are not
  reproduced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.apgd import APGD
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.look import Loss
from purebench.attacks.views.smoothed import Smoothed
from purebench.attacks.views.traced import TracedView
from purebench.attacks.views.view import View
from purebench.core.answers import Answer
from purebench.core.defense import State
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.parameters import Count, NonNegative
from purebench.core.threat import Knowledge, ThreatModel

POWERS = {"alpha": 1, "alpha-bar": 2, "equal": 0}
"""Power of sqrt(alpha-bar) in the weight of a level, by the name of the weight."""


@dataclass
class DeviatedView(TracedView):
    """A view that adds the deviation of the states from the diffused input to the loss.

    Attributes:
        deviation: Factor λ of the deviation.
        levels: Number of states that are drawn for each evaluation; None for all.
        reference: Whether the gradient also flows through the diffused input, `through`, or not, `fixed`.
        weight: Weight α(t) of a state: `alpha` for sqrt(alpha-bar), `alpha-bar`, or `equal` for 1.
    """

    deviation: float = 1.0
    levels: int | None = None
    reference: str = "through"
    weight: str = "alpha"

    def objective(self, states: Sequence[State], labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the loss plus the deviation [M], and the logits of the purified images [M,K]."""
        value, logits = self.linearised(states[-1].image, labels, loss)  # refuses a classifier without a gradient
        chosen = self._chosen(states)
        for one in chosen:
            aim = one.reference if self.reference == "through" else one.reference.detach()
            error = (one.state - aim).square().flatten(1).mean(1)
            value = value + self.deviation / len(chosen) * one.scale ** POWERS[self.weight] * error
        return value, logits

    def _chosen(self, states: Sequence[State]) -> Sequence[State]:
        if self.levels is None or self.levels >= len(states) or not self.deviation:
            return states
        return [states[place] for place in torch.randperm(len(states))[: self.levels].tolist()]


@contextmanager
def deviating(view: View, **settings: Any) -> Iterator[DeviatedView]:
    """Provide a view with the same defense that adds the deviation; its counters are passed on at the end.

    Args:
        view: The view of the attack, `exact` or `surrogate`.
        **settings: See `DeviatedView`.
    """
    names = [field.name for field in fields(View)]
    made = DeviatedView(**{name: getattr(view, name) for name in names}, **settings)
    try:
        yield made
    finally:
        for name in names:
            setattr(view, name, getattr(made, name))


@listed("Auto-PGD that also drives the purifier's states off (DiffAttack)", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class Deviated(NativeAttack):
    """`APGD` on the loss plus the deviation of the purifier's states from the diffused input; see the module.

    Attributes:
        loss: Name of the loss.
        steps: Gradients per image and run.
        restarts: Number of runs.
        deviation: Factor λ of the deviation; 0 gives `apgd`.
        levels: Number of noise levels that are drawn for each gradient; None for all of them.
        reference: `through` if the gradient also flows through the diffused input, `fixed` if it does not.
        weight: Weight of a level: `alpha` for sqrt(alpha-bar), `alpha-bar`, or `equal`.
    """

    loss: str = "ce"
    steps: Count = 100
    restarts: Count = 1
    deviation: NonNegative = 1.0
    levels: Count | None = None
    reference: Literal["through", "fixed"] = "through"
    weight: Literal["alpha", "alpha-bar", "equal"] = "alpha"
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.find(self.loss)

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor | Answer:
        """Return the best point found for each image, [N,C,H,W].

        Args:
            view: The defense as the attack sees it, with its exact gradient or that of a surrogate.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If the purifier offers no intermediate states or does not diffuse its input, or the view is
                smoothed.
            PurebenchError: If the gradient mode does not differentiate the purifier.
        """
        attack = APGD(loss=self.loss, steps=self.steps, restarts=self.restarts)
        if view.changes_loss:
            raise PurebenchError("deviated: expected the gradient exact or surrogate, but got another one; use exact.")
        if isinstance(view, Smoothed):
            raise Inapplicable("deviated would leave the smoothing out; run it with the gradient exact")
        settings = {name: getattr(self, name) for name in ("deviation", "levels", "reference", "weight")}
        with deviating(view, **settings) as deviated:
            return attack.run(deviated, x, y, threat)
