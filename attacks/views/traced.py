"""The base of views that use the intermediate states of a purification besides its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from purebench.attacks.views.draws import Draws
from purebench.attacks.views.look import Loss
from purebench.attacks.views.view import View
from purebench.attacks.views.view_module import passes_gradient
from purebench.core.answers import check_logits
from purebench.core.defense import Purifier, State
from purebench.core.errors import Inapplicable, PurebenchError

OTHER_LOSS = "this view changes the loss of gradients, which the attack does not use; run it with the gradient exact"


@dataclass
class TracedView(View, ABC):
    """A view whose objective is computed from the states of one purification.

    Subclasses implement `objective`. The value may be that of several states, but the logits are those of the result.
    Attacks that do not call `look` would see the plain loss, and are refused.
    """

    changes_loss: ClassVar[bool] = True

    def draws_at(self, x: Tensor, y: Tensor, loss: Loss, draws: int) -> Draws:
        """Refuse to evaluate single draws.

        Raises:
            Inapplicable: Always.
        """
        raise Inapplicable(OTHER_LOSS)

    def as_module(self) -> nn.Module:
        """Refuse to be a module for libraries.

        Raises:
            Inapplicable: Always.
        """
        raise Inapplicable(OTHER_LOSS)

    def evaluate(self, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the objective [M] and the logits of the purified images [M,K]."""
        self.forwards += len(images)
        with self.coarse(images):
            states = self.traced.trace(images)
        return self.objective(states, labels, loss)

    @abstractmethod
    def objective(self, states: Sequence[State], labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the values to maximise [M], and the logits of the last state [M,K].

        Args:
            states: The states of one purification of M images.
            labels: Labels [M], or [M,2] of a targeted loss.
            loss: The loss of the attack.
        """

    @property
    def traced(self) -> Purifier:
        """The purifier whose states are used: that of the defense, or of the view `surrogate`.

        Raises:
            Inapplicable: If the defense has no purifier.
            PurebenchError: If the view differentiates something else than a purifier.
        """
        if isinstance(self.purify, Purifier):
            return self.purify
        if self.defense.purifier is None:
            raise Inapplicable("the defense has no purifier")
        if self.purify != self.defense.purify:
            raise PurebenchError("expected a view that differentiates the purifier itself; use exact or surrogate.")
        return self.defense.purifier

    def classify(self, image: Tensor) -> Tensor:
        """Return the checked logits [M,K] of the classifier at images [M,C,H,W], in the view's precision."""
        with self.coarse(image):
            answer = self.defense.classifier(image)
        return check_logits(answer, len(image)).to(image.dtype)

    def linearised(self, image: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return the loss at the images [M], whose gradient is computed at once, and the logits [M,K].

        The classifier's tensors are released before the next state is classified, so that the memory does not grow with
        the number of states.

        Args:
            image: Images [M,C,H,W] in [0,1], which require a gradient.
            labels: Labels [M], or [M,2] of a targeted loss.
            loss: The loss of the attack.
        """
        leaf, own = image.detach().requires_grad_(), labels if labels.ndim == 1 else labels[:, 0]
        logits = self.classify(leaf)
        value = passes_gradient(loss(logits, labels))
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        slope = self.checked(slope, lambda: logits.argmax(1) != own, again=True)
        change = (slope * (image - image.detach())).flatten(1).sum(1)  # zero, with the gradient `slope`
        return value.detach() + change, logits.detach()
