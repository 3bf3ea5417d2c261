"""A conflict: the gradients of the draws are opposite, their mean is exactly zero, and half of the draws can be broken.

A number u(x), the mean of the image's values times the signs of a chessboard, is near 0 for images. In each draw a sign
s = ±1 is chosen, and the answer, a class that does not change within the radius, has the margin 1 − s·u / theta. Every
draw of one sign is wrong where |u| > theta, so the worst case is 1/2, and no point breaks both signs. The mean gradient
of any loss of the margin that is linear is zero at each point, however many draws are averaged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.parameters import Positive, checked
from purebench.core.threat import ThreatModel
from purebench.defenses.controls.relu_network import ReLUNetwork, verified

SCALE = 5.0
"""Logit of the answered class at u = 0; the logits of the other classes are 0."""


def chessboard(like: Tensor) -> Tensor:
    """Return the signs ±1 of a chessboard, [H,W] of images [...,H,W]."""
    rows, columns = (torch.arange(side, device=like.device) for side in like.shape[-2:])
    return (1 - 2 * ((rows[:, None] + columns[None]) % 2)).to(like.dtype)


def chessboard_mean(x: Tensor) -> Tensor:
    """Return u [N] of images [N,C,H,W]."""
    return (x * chessboard(x)).flatten(1).mean(1)


class OpposedDraws(nn.Module):
    """The class of a network, with the margin 1 − s·u / theta for a random sign s.

    Args:
        network: images [N,C,H,W] → logits [N,K]; its gradient is not used.
        theta: size of u at which one sign is broken.
    """

    def __init__(self, network: nn.Module, theta: float):
        super().__init__()
        self.network, self.theta = network, theta

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K] of one draw."""
        with torch.no_grad():
            logits = self.network(x)
        signs = 1 - 2 * (torch.rand(len(x), device=x.device) < 0.5).to(x.dtype)
        margin = 1 - signs * chessboard_mean(x) / self.theta
        return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), SCALE * margin[:, None])


class Conflict(Defense):
    """The defense, and its worst case where it is known.

    Args:
        network: the network whose class is answered.
        theta: size of u at which one sign is broken.
    """

    kind = "random"
    hides = "draws with opposite gradients, whose mean is zero"
    reference = ""

    def __init__(self, network: ReLUNetwork, theta: float):
        super().__init__(OpposedDraws(network, theta), random=True)
        self.network, self.theta = network, theta

    @torch.no_grad()
    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return 1/2 where u can exceed theta, and 1 where it cannot.

        Args:
            x: images [N,C,H,W] in [0,1].
            y: labels [N].
            threat: an linf threat model.

        Returns:
            The bounds, NaN where the network is not proven right within the radius.

        Raises:
            Inapplicable: the norm is another one.
        """
        proven = self.network.truth(x, y, threat).low == 1
        up, down = (x + threat.radius).clamp(max=1), (x - threat.radius).clamp(min=0)
        white = chessboard(x) > 0
        most = chessboard_mean(torch.where(white, up, down).double())
        least = chessboard_mean(torch.where(white, down, up).double())
        reached = ((most > self.theta) | (least < -self.theta)).cpu()
        found = torch.where(reached, 0.5, 1.0).double().masked_fill(~proven.cpu(), torch.nan)
        return Truth(found, found)


@listed(
    random=True,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="control",
)
@checked("conflict")
def conflict(*, theta: Positive = 4 / 255) -> Conflict:
    """Return a random defense whose mean gradient is zero and whose worst case is 1/2 (linf).

    Args:
        theta: size of the mean over a chessboard at which half of the draws are wrong, in the units of images.
    """
    return Conflict(verified(), theta)
