"""A ReLU network that is small enough for complete verification (see `verification`)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from purebench.core.defense.known_truth import Truth
from purebench.core.defense.listed import listed
from purebench.core.errors import Inapplicable
from purebench.core.threat import ThreatModel
from purebench.defenses.checkpoints import load
from purebench.defenses.controls.verification import robust_images

WEIGHTS = "fashion-verified"


class ReLUNetwork(nn.Module):
    """Mean pooling, fully connected layers with ReLU between them: images [N,1,side,side] in [0,1] → logits [N,K].

    The pooled pixels are means over separate squares, so that under linf each of them changes independently of the
    others by up to the radius, and the verification needs no variable for a single pixel.

    Args:
        side: height and width of the images.
        pool: side of the squares that are averaged.
        widths: units of the hidden layers.
        classes: number of classes.
    """

    kind = "oracle"
    hides = "nothing: a ReLU network whose worst case is computed exactly, image by image"
    reference = ""

    def __init__(self, *, side: int = 32, pool: int = 4, widths: Sequence[int] = (32, 32), classes: int = 10):
        super().__init__()
        self.pool = nn.AvgPool2d(pool)
        sizes = [(side // pool) ** 2, *widths, classes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    @property
    def linear(self) -> list[nn.Linear]:
        """The affine layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K]."""
        hidden: Tensor = self.pool(x).flatten(1)
        for layer in self.linear[:-1]:
            hidden = layer(hidden).relu()
        logits: Tensor = self.linear[-1](hidden)
        return logits

    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return for each image whether it is robust, by complete verification.

        Args:
            x: images [N,1,side,side] in [0,1].
            y: labels [N].
            threat: an linf threat model.

        Raises:
            Inapplicable: the threat model is not linf.
        """
        if threat.norm != "linf":
            raise Inapplicable(f"its verification is for linf, and this board is in {threat.norm}")
        return robust_images(self, x, y, threat)


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    licence="MIT",
    source="control",
)
def verified(*, weights: str = WEIGHTS) -> ReLUNetwork:
    """Return a small ReLU network whose robust accuracy is known exactly, by complete verification (linf).

    Args:
        weights: a bundled name, or the path of a .safetensors file.
    """
    return load(weights, "relu-network", ReLUNetwork)
