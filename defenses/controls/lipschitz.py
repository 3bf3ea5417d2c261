"""A classifier that is 1-Lipschitz in l2, whose margin is a certificate (Anil et al. 2019, arXiv:1811.05381).

Each layer is an affine map divided by its largest singular value, followed by MaxMin: of each pair of units the larger
and the smaller one. Both are 1-Lipschitz, and so is a difference of two logits divided by sqrt(2) (Tsuzuku et al. 2018,
arXiv:1802.04034): an answer with margin m over every other class cannot change within the l2 radius m / sqrt(2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.threat import ThreatModel
from purebench.defenses.checkpoints import load

WEIGHTS = "fashion-lipschitz"
ROUNDING = 1 - 1e-5
"""Share of a margin that is certified, so that the rounding of float32 cannot make a certificate wrong."""


class LipschitzNetwork(nn.Module):
    """Mean pooling and 1-Lipschitz layers: images [N,1,side,side] in [0,1] → logits [N,K].

    Args:
        side: height and width of the images.
        pool: side of the squares that are averaged; their mean times `pool` is 1-Lipschitz.
        widths: units of the hidden layers, even numbers.
        classes: number of classes.
    """

    kind = "oracle"
    hides = "nothing: a 1-Lipschitz classifier, whose margins prove a lower bound"

    def __init__(self, *, side: int = 32, pool: int = 2, widths: Sequence[int] = (256, 256), classes: int = 10):
        super().__init__()
        self.pool, self.scale = nn.AvgPool2d(pool), float(pool)
        sizes = [(side // pool) ** 2, *widths, classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for layer in self.linear:
            nn.init.orthogonal_(layer.weight)
        self.reference = "lipschitz"

    @property
    def linear(self) -> list[nn.Linear]:
        """The affine layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K]."""
        hidden: Tensor = self.scale * self.pool(x).flatten(1)
        for number, layer in enumerate(self.linear):
            hidden = (layer(hidden) - layer.bias) / largest_singular_value(layer.weight) + layer.bias
            if number < len(self.linear) - 1:
                pairs = hidden.view(len(hidden), -1, 2)
                hidden = torch.stack((pairs.amax(2), pairs.amin(2)), 2).flatten(1)
        return hidden

    @torch.no_grad()
    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return 1 as the lower bound of certified images, 0 of others; the upper bound is that of the reference.

        Args:
            x: images [N,1,side,side] in [0,1].
            y: labels [N].
            threat: the threat model; a certificate holds in the l2 ball around its ball.
        """
        logits = self(x).double()
        own = logits.gather(1, y[:, None])[:, 0]
        margin = own - logits.scatter(1, y[:, None], -torch.inf).amax(1)
        radius = (margin * ROUNDING / math.sqrt(2)).clamp(min=0)
        proven = [NORM_FACTS[threat.norm].inside_l2(float(one), x[0].numel()) > threat.radius for one in radius]
        low = torch.tensor(proven, dtype=torch.float64)
        return Truth(low, torch.full_like(low, torch.nan))


def largest_singular_value(weight: Tensor) -> Tensor:
    """Return the spectral norm of a matrix [out,in], differentiable, of its smaller Gram matrix in float64."""
    wide = weight.double()
    gram = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    found: Tensor = torch.linalg.eigvalsh(gram)[-1].sqrt().to(weight.dtype)
    return found


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="Anil et al. 2019, arXiv:1811.05381",
)
def lipschitz(*, weights: str = WEIGHTS) -> LipschitzNetwork:
    """Return a 1-Lipschitz classifier (l2), whose margins certify a lower bound of its robust accuracy.

    Args:
        weights: a bundled name, or the path of a .safetensors file.
    """
    network = load(weights, "lipschitz", LipschitzNetwork)
    network.reference = "lipschitz" if weights == WEIGHTS else f"lipschitz(weights={weights!r})"
    return network
