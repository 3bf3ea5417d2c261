"""Recipe of the 1-Lipschitz classifier: cross-entropy on scaled logits, from which a margin follows.

The logits of a 1-Lipschitz network are small, so the cross-entropy needs a scale; the smaller it is, the larger are
the margins (Béthune et al. 2022, arXiv:2104.05097).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.threat import ThreatModel
from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.controls.lipschitz import LipschitzNetwork
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import accuracy

SCALE = 2.0
RADIUS = 1.0


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy of the scaled logits."""
    logits = model(images)
    right = (logits.argmax(1) == labels).float().mean()
    return {"loss": functional.cross_entropy(SCALE * logits, labels), "accuracy": right}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy, and the certified accuracy at an l2 radius."""
    x, y = torch.as_tensor(test.floats()).to(device), torch.as_tensor(test.labels).to(device)
    assert isinstance(model, LipschitzNetwork)
    proven = float(model.truth(x, y, ThreatModel("l2", RADIUS)).low.mean())
    return {
        f"clean accuracy, {len(test):,} test images": accuracy(model, test, device),
        f"certified at l2 {RADIUS:g}, {len(test):,} test images": proven,
    }


recipe = Recipe(
    name="fashion-lipschitz",
    kind="lipschitz",
    build=LipschitzNetwork,
    architecture={"side": 32, "pool": 2, "widths": [128, 128], "classes": 10},
    loss=loss,
    quality=quality,
    about="A classifier that is 1-Lipschitz in l2, for a certified lower bound.",
    source="Anil et al. 2019, arXiv:1811.05381; trained for purebench",
    data=fashion_mnist,
    batch=256,
    rate=3e-3,
    decay=0.0,
    minutes=10,
)
