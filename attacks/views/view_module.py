"""Presents a view as a torch module, for libraries that attack modules; checks that a gradient reaches the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError

if TYPE_CHECKING:
    from purebench.attacks.views.view import View

NO_GRADIENT = (
    "expected a gradient at the image, but none arrives through this view; remove torch.no_grad and detach from the "
    "defense, or declare `differentiable = False` in the purifier's class; the view bpda and attacks that need no "
    "gradient run without it."
)


def passes_gradient(values: Tensor) -> Tensor:
    """Return the values unchanged if a gradient can flow back from them.

    Raises:
        PurebenchError: If the values do not require a gradient.
    """
    if not values.requires_grad:
        raise PurebenchError(NO_GRADIENT)
    return values


class ViewModule(nn.Module):
    """A view as a module in eval mode; its gradient is exact, BPDA's, or the classifier's alone."""

    def __init__(self, view: View):
        super().__init__()
        self.view = view
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean log-probabilities [N,K] of the draws for images [N,C,H,W]; the logits of a single draw."""
        view, count = self.view, self.view.draws
        x = x.float()  # some libraries pass float64
        apart = count > 1 and bool(view.defense.shares_draws)
        many = x if count == 1 or apart else x.repeat_interleave(count, 0)
        if torch.is_grad_enabled() and x.requires_grad:
            view.backwards += len(x) * count
            passes = [passes_gradient(view.logits(many, coarse=True)) for _ in range(count if apart else 1)]
            logits = torch.stack(passes, 1).flatten(0, 1) if apart else passes[0]
        else:
            logits = view.scores(x, count).flatten(0, 1)
        if count == 1:
            return logits
        view.note("sees the mean of the draws' log-probabilities")
        return logits.log_softmax(1).view(len(x), count, -1).mean(1)
