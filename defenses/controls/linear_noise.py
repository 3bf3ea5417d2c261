"""A linear classifier with Gaussian noise on the logit of one class, whose worst case has a closed form.

z = W x + c, and the logit of class t gets the noise sigma·ξ, ξ ~ N(0,1), afresh in each draw. An image of class y ≠ t
is answered rightly if z_y > z_j for all j other than t, which does not depend on the draw, and z_y − z_t > sigma·ξ. The
smallest value of each difference of logits over the threat model is that of a linear function over a box (linf) or over
a ball and a box (l2). The worst point minimises z_y − z_t, or makes another difference negative if one can be, so

    q = 0 if min (z_y − z_j) ≤ 0 for some j ≠ t, else Φ(min (z_y − z_t) / sigma).

An image of class t is right if sigma·ξ > max_j (z_j − z_t), so q = 1 − Φ(max_j max (z_j − z_t) / sigma).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.special import ndtr

from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.errors import Inapplicable
from purebench.core.parameters import Positive, checked
from purebench.core.threat import ThreatModel
from purebench.defenses.checkpoints import load

WEIGHTS = "fashion-linear"
NOISY = 6
"""The class whose logit is noisy: shirts, which most other classes of clothes are confused with."""


class LinearClassifier(nn.Module):
    """Images [N,channels,side,side] in [0,1] → logits [N,K], linear.

    Args:
        values: number of values of an image.
        classes: number of classes.
    """

    def __init__(self, *, values: int = 1024, classes: int = 10):
        super().__init__()
        self.layer = nn.Linear(values, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K]."""
        logits: Tensor = self.layer(x.flatten(1))
        return logits


class NoisyLogit(nn.Module):
    """A linear classifier whose logit of one class gets Gaussian noise.

    Args:
        linear: the classifier.
        sigma: standard deviation of the noise, in the units of logits.
        noisy: the class.
    """

    def __init__(self, linear: LinearClassifier, sigma: float, noisy: int):
        super().__init__()
        self.linear, self.sigma, self.noisy = linear, sigma, noisy

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K] of one draw."""
        logits: Tensor = self.linear(x)
        noise = torch.zeros_like(logits)
        noise[:, self.noisy] = self.sigma * torch.randn(len(x), dtype=logits.dtype, device=x.device)
        return logits + noise


class LinearNoise(Defense):
    """The defense, and its exact worst case.

    Args:
        linear: the classifier.
        sigma: standard deviation of the noise, in the units of logits.
        noisy: the class whose logit is noisy.
    """

    kind = "random"
    hides = "a linear margin in Gaussian noise; the worst case has a closed form"
    reference = ""

    def __init__(self, linear: LinearClassifier, sigma: float, noisy: int = NOISY):
        super().__init__(NoisyLogit(linear, sigma, noisy), random=True)

    @torch.no_grad()
    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return the exact probability of a right answer at the worst point of each image.

        Args:
            x: images [N,C,H,W] in [0,1].
            y: labels [N].
            threat: an linf or l2 threat model.

        Raises:
            Inapplicable: the norm is another one.
        """
        model = self.classifier
        assert isinstance(model, NoisyLogit)
        least = least_margins(model.linear, x, y, threat)
        t = model.noisy
        others = torch.arange(least.shape[1], device=x.device)[None] != y[:, None]
        steady = others & (torch.arange(least.shape[1], device=x.device)[None] != t)
        broken = (steady & (least <= 0)).any(1)
        own = torch.where(broken, 0.0, ndtr(least[:, t] / model.sigma))
        of_noisy = ndtr(least.masked_fill(~others, torch.inf).amin(1) / model.sigma)
        found = torch.where(y == t, of_noisy, own)
        return Truth(found.cpu(), found.cpu())


def least_margins(linear: LinearClassifier, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    """Return the smallest z_y − z_j over the threat model and the box [0,1] for each class j, float64 [N,K].

    Args:
        linear: the classifier.
        x: images [N,C,H,W] in [0,1].
        y: labels [N].
        threat: an linf or l2 threat model.

    Raises:
        Inapplicable: the norm is another one.
    """
    if threat.norm not in ("linf", "l2"):
        raise Inapplicable(f"its closed form is for linf and l2, and this board is in {threat.norm}")
    weight, bias = linear.layer.weight.double(), linear.layer.bias.double()
    flat = x.flatten(1).double()
    slope = weight[y][:, None] - weight[None]  # [N,K,values]
    here = (slope @ flat[:, :, None])[:, :, 0] + bias[y][:, None] - bias[None]
    down, room = -slope, torch.where(slope < 0, 1 - flat[:, None], flat[:, None])  # each value moves against the slope
    if threat.norm == "linf":
        return here - (down.abs() * room.clamp(max=threat.radius)).sum(2)
    return here - (down.abs() * _l2_steps(down.abs(), room, threat.radius)).sum(2)


def _l2_steps(slope: Tensor, room: Tensor, radius: float, rounds: int = 60) -> Tensor:
    """Return the steps ≥ 0 that maximise slope · step with |step|_2 ≤ radius and step ≤ room, by bisection.

    The optimum is min(slope·c, room) for the largest c that the radius permits.
    """
    low, high = torch.zeros_like(slope[..., :1]), torch.full_like(slope[..., :1], 1e12)
    for _ in range(2 * rounds):
        middle = (low * high).sqrt().clamp(min=1e-9)
        inside = torch.minimum(slope * middle, room).norm(dim=-1, keepdim=True) <= radius
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return torch.minimum(slope * low, room)


@listed(
    random=True,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="control",
)
@checked("linear-noise")
def linear_noise(*, sigma: Positive = 1.0, weights: str = WEIGHTS) -> LinearNoise:
    """Return a linear classifier with Gaussian noise, whose robust accuracy is known exactly (linf, l2).

    Args:
        sigma: standard deviation of the noise on one logit.
        weights: a bundled name, or the path of a .safetensors file.
    """
    return LinearNoise(load(weights, "linear", LinearClassifier), sigma)
