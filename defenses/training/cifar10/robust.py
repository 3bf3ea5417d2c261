"""Recipe of the adversarially trained classifier: fast adversarial training (Wong et al. 2020, arXiv:2001.03994).

Algorithm 3: cross-entropy at one step of projected gradient ascent of length `STEP` from a uniformly random start. The
published length 1.25 is shortened to 1, because long steps lead to catastrophic overfitting. Further differences: the
step is taken in evaluation mode, the radius rises over the first part of the run, and the optimizer is AdamW with a
moving average of the weights.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.threat import ThreatModel
from purebench.data.image_set import ImageSet
from purebench.defenses.training.cifar10 import classifier
from purebench.defenses.training.recipes.robust import (
    CHECK_IMAGES,
    CHECK_STEPS,
    accuracy_after_ascent,
    ascend,
    at_share,
)

THREAT = ThreatModel("linf", 8 / 255)
STEP = 1.0
"""Length of the step as a share of the radius."""


def loss(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy at the adversarial examples; the radius rises over the first part of the run."""

    def objective(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits.float(), labels)

    logits = model(ascend(model, images, at_share(share, THREAT), objective, steps=1, step=STEP)).float()
    right = (logits.argmax(1) == labels).float().mean()
    return {"loss": functional.cross_entropy(logits, labels), "robust": right}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy on the test images, and the accuracy on 1,000 of them under PGD.

    The second figure reveals catastrophic overfitting; it is not an evaluation of robustness: use a board for that.
    """
    some = test.take(range(min(CHECK_IMAGES, len(test))))
    attacked = accuracy_after_ascent(model, some, device, THREAT)
    return {
        **classifier.quality(model, test, device),
        f"accuracy under PGD, {CHECK_STEPS} steps, linf 8/255, {len(some):,} test images {classifier.COPY}": attacked,
    }


fast_at = replace(
    classifier.recipe,
    name="cifar10-fast-at",
    loss=loss,
    quality=quality,
    about="A classifier of CIFAR-10 trained by fast adversarial training, linf 8/255.",
    source="Wong et al. 2020, arXiv:2001.03994; trained for purebench",
    architecture={**classifier.recipe.architecture, "width": 40},
    decay=5e-3,
    steps=4200,
    precision="channels-last",
)
