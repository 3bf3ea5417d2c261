"""A coin between two models: each image of each draw is answered by a verified network or by a linear classifier.

Where the verified network is proven right everywhere within the radius, and the linear classifier is wrong at some
point of it, the worst case is exactly 1/2: the first model is right at every point, the second one is wrong at the
worst.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.threat import ThreatModel
from purebench.defenses.checkpoints import load
from purebench.defenses.controls import linear_noise
from purebench.defenses.controls.linear_noise import LinearClassifier, least_margins
from purebench.defenses.controls.relu_network import ReLUNetwork, verified


class Toss(nn.Module):
    """Logits of one of two models, chosen by a fair coin for each image and draw.

    Args:
        first: images [N,C,H,W] → logits [N,K].
        second: the same.
    """

    def __init__(self, first: nn.Module, second: nn.Module):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K] of one draw."""
        heads = torch.rand(len(x), 1, device=x.device) < 0.5
        return torch.where(heads, self.first(x), self.second(x))


class Coin(Defense):
    """The defense, and its worst case where it is known.

    Args:
        network: the model whose worst case is computed by complete verification.
        linear: the model whose worst case has a closed form.
    """

    kind = "random"
    hides = "one of two models answers; only one of them can be broken"
    reference = ""

    def __init__(self, network: ReLUNetwork, linear: LinearClassifier):
        super().__init__(Toss(network, linear), random=True)
        self.network, self.linear = network, linear

    @torch.no_grad()
    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return 1/2 where the first model is proven right, and the second one is right at the image but not robust.

        Args:
            x: images [N,C,H,W] in [0,1].
            y: labels [N].
            threat: an linf threat model.

        Returns:
            The bounds, NaN for all other images.

        Raises:
            Inapplicable: the norm is another one.
        """
        proven = self.network.truth(x, y, threat).low.to(x.device) == 1
        least = least_margins(self.linear, x, y, threat).scatter(1, y[:, None], torch.inf).amin(1)
        scored = proven & (least < 0) & (self.linear(x).argmax(1) == y)
        found = torch.where(scored, 0.5, torch.nan).double().cpu()
        return Truth(found, found)


@listed(
    random=True,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="control",
)
def coin() -> Coin:
    """Return a coin between a verified network and a linear classifier, of known worst case 1/2 (linf)."""
    return Coin(verified(), load(linear_noise.WEIGHTS, "linear", LinearClassifier))
