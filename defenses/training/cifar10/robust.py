"""Recipe of the adversarially trained classifier: fast adversarial training (Wong et al. 2020, arXiv:2001.03994).

Algorithm 3: cross-entropy at one step of projected gradient ascent of length `STEP` from a uniformly random start. The
published length 1.25 is shortened to 1, which is further from catastrophic overfitting (figure 3 there).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.threat import ThreatModel
from purebench.data.image_set import ImageSet
from purebench.defenses.training.cifar10 import classifier
from purebench.defenses.training.quality import accuracy
from purebench.defenses.training.recipes.robust import WARM_UP, ascend

THREAT = ThreatModel("linf", 8 / 255)
STEP = 1.0
"""Length of the step as a share of the radius."""
CHECK_STEPS, CHECK_STEP, CHECK_IMAGES = 20, 0.25, 1000
"""Steps, length of a step as a share of the radius, and images of the sanity check on the model card."""


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy at the adversarial examples; the radius rises over the first part of the run."""
    threat = replace(THREAT, radius=THREAT.radius * min(1.0, 0.1 + share / WARM_UP))

    def objective(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), labels)

    logits = model(ascend(model, images, threat, objective, steps=1, step=STEP)).float()
    right = (logits.argmax(1) == labels).float().mean()
    return {"loss": functional.cross_entropy(logits, labels), "robust": right}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy on the test images, and the accuracy on 1,000 of them under PGD.

    The second figure reveals catastrophic overfitting; it is not an evaluation of robustness: use the board for that.
    """
    found = {f"clean accuracy, {len(test):,} test images (JPEG 75)": accuracy(model, test, device)}
    some = test.take(range(min(CHECK_IMAGES, len(test))))
    x, y = torch.as_tensor(some.floats()).to(device), torch.as_tensor(some.labels).to(device)
    worst = ascend(
        model, x, THREAT, lambda logits: functional.cross_entropy(logits, y, reduction="sum"), CHECK_STEPS, CHECK_STEP
    )
    with torch.no_grad():
        held = float((model.eval()(worst).argmax(1) == y).float().mean())
    return {**found, f"accuracy under PGD, {CHECK_STEPS} steps, linf 8/255, {len(some):,} test images": held}


fast_at = replace(
    classifier.recipe,
    name="cifar10-fast-at",
    loss=loss,
    quality=quality,
    about="A classifier trained by fast adversarial training, linf 8/255, for the board cifar10-small.",
    source="Wong et al. 2020, arXiv:2001.03994; trained for purebench",
    decay=5e-3,
    steps=5000,
)
