"""Recipes of the adversarially trained classifiers: TRADES and PGD adversarial training, linf eps 16/255.

TRADES (Zhang et al. 2019, arXiv:1901.08573, equation 5): cross-entropy on the image plus `BETA` times the divergence of
the prediction at the worst x' from that at x. PGD-AT (Madry et al. 2018, arXiv:1706.06083, equation 2.1):
cross-entropy at the worst x'. Both find x' by a few steps of projected gradient ascent, with the model in eval mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core.norms.norms import NORMS
from purebench.core.threat import ThreatModel
from purebench.data.datasets import ImageSet
from purebench.defenses.training.loop import Recipe
from purebench.defenses.training.quality import accuracy
from purebench.defenses.training.recipes import classifier

THREAT = ThreatModel("linf", 16 / 255)
BETA = 6.0
STEPS, STEP = 7, 0.25
"""Number of steps of the inner ascent, and length of a step as a share of the radius."""
CHECK_STEPS, CHECK_IMAGES, CHECK_BATCH = 20, 1000, 250
"""Steps of the ascent for the figure on the model card, number of test images, and images at a time."""
WARM_UP = 0.15
"""Share of the run over which the radius rises to its full size, so that the first steps make progress."""


def ascend(
    model: nn.Module,
    x: Tensor,
    threat: ThreatModel,
    objective: Callable[[Tensor], Tensor],
    steps: int = STEPS,
    step: float = STEP,
) -> Tensor:
    """Find points inside the threat model with a high objective, by projected gradient ascent from a random start.

    The model is left in training mode.

    Args:
        model: the model, images → logits [N,K].
        x: images [N,C,H,W] in [0,1].
        threat: the threat model.
        objective: logits [N,K] → scalar, which is maximised.
        steps: number of steps.
        step: length of a step as a share of the radius.

    Returns:
        Adversarial examples [N,C,H,W] inside the threat model.
    """
    model.eval()
    norm = NORMS[threat.norm]
    point = threat.project(x + threat.radius * norm.random(x), x)
    for _ in range(steps):
        point.requires_grad_()
        (gradient,) = torch.autograd.grad(objective(model(point)), point)
        point = threat.project(point.detach() + step * threat.radius * norm.direction(gradient), x)
    model.train()
    return point


def at_share(share: float, threat: ThreatModel = THREAT) -> ThreatModel:
    """Return the threat model at this share of the run: the radius rises from a tenth of its size to all of it."""
    return replace(threat, radius=threat.radius * min(1.0, 0.1 + share / WARM_UP))


def divergence(logits: Tensor, other: Tensor) -> Tensor:
    """Return KL(softmax(logits) ‖ softmax(other)), averaged over images."""
    return functional.kl_div(other.log_softmax(1), logits.log_softmax(1), reduction="batchmean", log_target=True)


def trades(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy plus BETA times the divergence at the worst x'.

    The target of the divergence is not detached.
    """
    with torch.no_grad():
        calm = model.eval()(images)
    worst = ascend(model, images, at_share(share), lambda logits: divergence(calm, logits))
    logits, attacked = model(images), model(worst)
    clean = functional.cross_entropy(logits, labels)
    right = (attacked.argmax(1) == labels).float().mean()
    return {"loss": clean + BETA * divergence(logits, attacked), "clean loss": clean, "robust": right}


def pgd_at(model: nn.Module, images: Tensor, labels: Tensor, share: float) -> dict[str, Tensor]:
    """Return the cross-entropy at the worst x'."""
    worst = ascend(model, images, at_share(share), lambda logits: functional.cross_entropy(logits, labels))
    attacked = model(worst)
    right = (attacked.argmax(1) == labels).float().mean()
    return {"loss": functional.cross_entropy(attacked, labels), "robust": right}


def quality(model: nn.Module, test: ImageSet, device: torch.device) -> dict[str, float]:
    """Measure the clean accuracy on the test images, and the accuracy on 1,000 of them under the training's attack.

    The second figure is only a sanity check, not an evaluation of robustness: use a board for that.
    """
    some = test.take(range(min(CHECK_IMAGES, len(test))))
    attacked = accuracy_after_ascent(model, some, device, THREAT)
    return {
        f"clean accuracy, {len(test):,} test images": accuracy(model, test, device),
        f"accuracy after {CHECK_STEPS} steps of the training's attack, {len(some):,} test images": attacked,
    }


def accuracy_after_ascent(model: nn.Module, data: ImageSet, device: torch.device, threat: ThreatModel) -> float:
    """Return the share of images that are classified correctly after `CHECK_STEPS` steps of `ascend`, in [0,1].

    Args:
        model: the model, images → logits [N,K]; it is left in eval mode.
        data: the images.
        device: device of the evaluation.
        threat: the threat model.
    """
    x, y = torch.as_tensor(data.floats()).to(device), torch.as_tensor(data.labels).to(device)
    right = 0
    for some, labels in zip(torch.split(x, CHECK_BATCH), torch.split(y, CHECK_BATCH), strict=True):
        worst = ascend(model, some, threat, partial(functional.cross_entropy, target=labels), CHECK_STEPS)
        with torch.no_grad():
            right += int((model.eval()(worst).argmax(1) == labels).sum())
    return right / len(y)


def recipe(name: str, loss: Callable[..., dict[str, Tensor]], about: str, source: str) -> Recipe:
    """Return the undefended classifier's recipe with another loss."""
    return replace(
        classifier.recipe, name=name, loss=loss, quality=quality, about=about, source=source, decay=5e-4, minutes=45
    )


fashion_trades = recipe(
    "fashion-trades",
    trades,
    f"A classifier trained by TRADES, beta {BETA:g}, linf 16/255.",
    "Zhang et al. 2019, arXiv:1901.08573; trained for purebench",
)
fashion_pgd_at = recipe(
    "fashion-pgd-at",
    pgd_at,
    "A classifier trained by PGD adversarial training, linf 16/255.",
    "Madry et al. 2018, arXiv:1706.06083; trained for purebench",
)
