"""A coin between two models: each image of each draw is answered by a verified network or by an undefended one.

Where the verified network is proven right everywhere within the radius, and a point of it is known at which the other
one is wrong, the worst case is exactly 1/2: the first model is right at every point, the second one is wrong at the
worst.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.threat import ThreatModel
from purebench.defenses.classifiers.resnet import fashion_resnet
from purebench.defenses.controls.relu_network import ReLUNetwork, verified

STEPS = 20
"""Number of steps of the gradient ascent that looks for a point at which the undefended model is wrong."""


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
        other: the model that is broken, images [N,C,H,W] in [0,1] → logits [N,K].
    """

    kind = "random"
    hides = "one of two models answers, and only one of them can be broken"
    reference = ""

    def __init__(self, network: ReLUNetwork, other: nn.Module):
        super().__init__(Toss(network, other), random=True)
        self.network, self.other = network, other

    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return 1/2 where the first model is proven right, and the second one is right at the image and can be broken.

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
        point = broken_point(self.other, x, y, threat)
        with torch.no_grad():
            right, wrong = self.other(x).argmax(1) == y, self.other(point).argmax(1) != y
        found = torch.where(proven & right & wrong, 0.5, torch.nan).double().cpu()
        return Truth(found, found)


def broken_point(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    """Return points within the linf radius after gradient ascent on the cross-entropy, [N,C,H,W] in [0,1].

    Args:
        model: images → logits [N,K].
        x: images [N,C,H,W] in [0,1].
        y: labels [N].
        threat: an linf threat model.
    """
    point = x.detach()
    for _ in range(STEPS):
        with torch.enable_grad():
            leaf = point.requires_grad_()
            (gradient,) = torch.autograd.grad(functional.cross_entropy(model(leaf), y, reduction="sum"), leaf)
        point = threat.project(point.detach() + threat.radius / 4 * gradient.sign(), x)
    return point


@listed(
    random=True,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="control",
)
def coin() -> Coin:
    """Return a coin between a verified network and an undefended one, of known worst case 1/2 (linf)."""
    return Coin(verified(), fashion_resnet())
