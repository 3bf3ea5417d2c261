"""The attacked models: the bundled classifier or models with random weights, behind noise or a bundled purifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from purebench.core import registry
from purebench.core.answers import Answer
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel
from purebench.data.adapt import load_images

DRAWS_TO_CHOOSE = 16
OVERSHOOT = 1e-3
"""Share of the radius by which rounding of a library may exceed it; all results are projected back."""


@dataclass
class Tally:
    """Counts of images that passed forward, and of images whose gradient was computed."""

    forwards: int = 0
    gradients: int = 0

    def came_back(self, gradient: Tensor) -> None:
        """Count the images of a gradient [N,K]."""
        self.gradients += len(gradient)


class Counted(nn.Module):
    """A model that counts images that passed forward and images whose gradient was computed; frozen, in eval mode.

    All contestants and the unit of the measurement use it, so its cost (microseconds) is the same for all.
    No parameter requires a gradient, so libraries do not compute gradients of parameters here.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.tally = model, Tally()
        self.eval().requires_grad_(False)

    @property
    def forwards(self) -> int:
        """Number of images that passed forward."""
        return self.tally.forwards

    @property
    def gradients(self) -> int:
        """Number of images whose gradient was computed."""
        return self.tally.gradients

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits."""
        self.tally.forwards += len(x)
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self.tally.came_back)  # type: ignore[no-untyped-call]
        return logits

    def reset(self) -> None:
        """Reset the counts to zero."""
        self.tally.forwards = self.tally.gradients = 0


class NoisyInput(nn.Module):
    """model(x + N(0, sigma²)) with fresh noise at each pass; x in [0,1], noisy images are not clamped."""

    def __init__(self, model: nn.Module, sigma: float):
        super().__init__()
        self.model, self.sigma = model, sigma

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of one draw."""
        logits: Tensor = self.model(x + self.sigma * torch.randn_like(x))
        return logits


@dataclass(frozen=True)
class Subject:
    """A counted model, whether its answers are random, and images [N,C,H,W] in [0,1] with labels [N] for it."""

    model: Counted
    random: bool
    x: Tensor
    y: Tensor


def resnet18(weights: Path | None = None) -> nn.Module:
    """Return torchvision's ResNet-18 with a stem for CIFAR (3×3, no pooling): [N,3,32,32] in [0,1] → logits [N,10].

    weights: a state dict with torchvision's names, or `shortcut` and `linear` for its `downsample` and `fc` (as
    AutoAttack's examples/model_test.pt has); None for random weights. Raises PurebenchError for another file.
    """
    from torchvision.models import resnet18 as make

    model: nn.Module = make(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    if weights is not None:
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            renamed = {
                name.replace("shortcut", "downsample").replace("linear.", "fc."): value for name, value in state.items()
            }
            model.load_state_dict(renamed)
        except (OSError, RuntimeError, AttributeError) as error:
            told = str(error).splitlines()[0]
            raise PurebenchError(
                f"--weights: expected a ResNet-18's state dict, but {weights} is none: {told}"
            ) from error
    return model


def vit() -> nn.Module:
    """Return a vision transformer of four layers with random weights: [N,3,32,32] in [0,1] → logits [N,10]."""
    from torchvision.models import VisionTransformer

    model: nn.Module = VisionTransformer(
        image_size=32, patch_size=4, num_layers=4, num_heads=3, hidden_dim=96, mlp_dim=192, num_classes=10
    )
    nn.init.xavier_uniform_(model.heads.head.weight)  # torchvision starts with zeros, whose gradients are zero
    return model


def convnext() -> nn.Module:
    """Return a ConvNeXt of three stages with random weights: [N,3,32,32] in [0,1] → logits [N,10]."""
    from torchvision.models import ConvNeXt
    from torchvision.models.convnext import CNBlockConfig

    stages = [CNBlockConfig(32, 64, 2), CNBlockConfig(64, 128, 2), CNBlockConfig(128, None, 2)]
    model: nn.Module = ConvNeXt(stages, stochastic_depth_prob=0.0, num_classes=10)
    return model


def tiny() -> nn.Module:
    """Return a linear classifier of [N,3,32,32], with which nearly all time is overhead of the attack."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))


def fashion(spec: str = "none", *, device: torch.device | None = None) -> tuple[nn.Module, bool, Tensor, Tensor]:
    """Return a bundled defense with the bundled classifier, whether it is random, and shipped images and labels."""
    classifier = registry.create("classifiers", Spec("fashion-resnet"))
    made = registry.create("defenses", Spec.parse(spec), classifier=classifier)
    defense = as_defense(made, classifier)
    return defense.to(device), defense.random, *images("fashion-mnist", device)


def images(dataset: str, device: torch.device | None) -> tuple[Tensor, Tensor]:
    """Return all images [N,C,H,W] in [0,1] and labels [N] of a dataset by name."""
    part = load_images(Spec.parse(dataset))
    return torch.as_tensor(part.floats()).to(device), torch.as_tensor(part.labels).to(device)


MADE: dict[str, Callable[[], nn.Module]] = {"resnet18": resnet18, "vit": vit, "convnext": convnext, "tiny": tiny}
"""The models with random weights, by name."""


def speed_subject(name: str, count: int, *, noise: float, device: torch.device, seed: int) -> Subject:
    """Return `fashion-resnet` or a model of MADE, behind noise unless it is 0, with correctly classified images.

    Models other than `fashion-resnet` have random weights and random images, labelled with the model's predictions.
    """
    pool = 4 * count + 64
    with seeded("subject", name, str(seed)):
        if name == "fashion-resnet":
            model, _, x, y = fashion(device=device)
            x, y = x[:pool], y[:pool]
        else:
            model = MADE[name]().to(device).eval()
            x = torch.rand(pool, 3, 32, 32).to(device)
            y = answers(model, x, 1)[:, 0]
        counted = Counted(NoisyInput(model, noise) if noise else model)
        x, y = chosen(counted, x, y, count, draws=DRAWS_TO_CHOOSE if noise else 1, least=1.0)
    return Subject(counted, bool(noise), x, y)


@torch.no_grad()
def answers(model: nn.Module, x: Tensor, draws: int) -> Tensor:
    """Return the predicted class of x [N,C,H,W] in each of `draws` passes, [N,draws]."""
    (found,) = DeviceBatch(128).map(lambda part: (model(part).argmax(1),), x.repeat_interleave(draws, 0))
    return found.view(len(x), draws)


def chosen(model: Counted, x: Tensor, y: Tensor, count: int, *, draws: int, least: float) -> tuple[Tensor, Tensor]:
    """Return the first `count` images classified correctly on at least a share `least` of the draws; resets the counts.

    Raises PurebenchError if there are too few.
    """
    kept_x, kept_y, have = [], [], 0
    for some_x, some_y in zip(torch.split(x, 2 * count), torch.split(y, 2 * count), strict=True):
        share = (answers(model, some_x, draws) == some_y[:, None]).float().mean(1)
        kept_x.append(some_x[share >= least])
        kept_y.append(some_y[share >= least])
        have += len(kept_y[-1])
        if have >= count:
            break
    model.reset()
    if have < count:
        raise PurebenchError(f"--images: expected {count} correctly classified images, but there are only {have}.")
    return torch.cat(kept_x)[:count], torch.cat(kept_y)[:count]


def images_of(found: Tensor | Answer) -> Tensor:
    """Return the images of an attack's result."""
    return found.images if isinstance(found, Answer) else found


def constrained(found: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """Project an attack's result if rounding exceeds the threat model; raises PurebenchError for a larger excess."""
    size = float(threat.size(found.detach() - x).max())
    if not size <= threat.radius * (1 + OVERSHOOT):
        raise PurebenchError(f"expected a {threat.norm} distance of at most {threat.radius:.6g}, but got {size:.6g}.")
    return threat.project(found.detach(), x)
