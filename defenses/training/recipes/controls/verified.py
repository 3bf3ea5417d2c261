"""Recipe of the network for complete verification: interval bound propagation (Gowal et al. 2018, arXiv:1810.12715).

The loss is a mean of the cross-entropy at the image and at the worst logits that interval arithmetic allows within the
radius. It leaves few units whose sign the perturbation can change, so that complete verification is quick (Xiao et al.
2019, arXiv:1809.03008).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.data.datasets import ImageSet, fashion_mnist
from purebench.defenses.controls.relu_network import ReLUNetwork
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import accuracy

RADIUS = 16 / 255
SHARE = 0.35
"""Largest weight of the loss at the worst logits."""
WARM_UP = 0.4
"""Share of the run over which radius and weight rise to their full size."""


def worst_logits(model: nn.Module, images: Tensor, labels: Tensor, radius: float) -> Tensor:
    """Return upper bounds of the other logits minus the label's [N,K] within the linf radius; 0 at the label.

    Args:
        model: a `ReLUNetwork`.
        images: images [N,C,H,W] in [0,1].
        labels: labels [N].
        radius: the linf radius in the units of images.
    """
    assert isinstance(model, ReLUNetwork)
    low = model.pool((images - radius).clamp(0, 1)).flatten(1)
    high = model.pool((images + radius).clamp(0, 1)).flatten(1)
    for layer in model.linear[:-1]:
        centre, spread = layer((low + high) / 2), (high - low) / 2 @ layer.weight.abs().T
        low, high = (centre - spread).relu(), (centre + spread).relu()
    last = model.linear[-1]
    rows = last.weight[None] - last.weight[labels][:, None]  # [N,K,hidden]
    centre = (rows @ ((low + high) / 2)[:, :, None])[:, :, 0] + last.bias - last.bias[labels][:, None]
    worst: Tensor = centre + (rows.abs() @ ((high - low) / 2)[:, :, None])[:, :, 0]
    return worst


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the mixed cross-entropy, and the share of images that the intervals alone prove robust."""
    grown = min(1.0, share / WARM_UP)
    worst = worst_logits(model, images, labels, RADIUS * grown)
    clean, bound = functional.cross_entropy(model(images), labels), functional.cross_entropy(worst, labels)
    weight = SHARE * grown
    proven = (worst.argmax(1) == labels).float().mean()
    return {"loss": (1 - weight) * clean + weight * bound, "clean loss": clean, "proven": proven}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy, and the share of images that the intervals alone prove robust."""
    x, y = torch.as_tensor(test.floats()).to(device), torch.as_tensor(test.labels).to(device)
    with torch.no_grad():
        proven = float((worst_logits(model, x, y, RADIUS).argmax(1) == y).float().mean())
    return {
        f"clean accuracy, {len(test):,} test images": accuracy(model, test, device),
        f"proven by intervals at linf 16/255, {len(test):,} test images": proven,
    }


recipe = Recipe(
    name="fashion-verified",
    kind="relu-network",
    build=ReLUNetwork,
    architecture={"side": 32, "pool": 4, "widths": [32, 32], "classes": 10},
    loss=loss,
    quality=quality,
    about="A small ReLU network for complete verification, trained by interval bounds, linf 16/255.",
    source="Gowal et al. 2018, arXiv:1810.12715; trained for purebench",
    data=fashion_mnist,
    batch=128,
    rate=5e-3,
    decay=1e-5,
    minutes=10,
)
