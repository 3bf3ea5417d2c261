"""The paper's three classifiers: torchvision's networks with another head (Serez et al. 2025, arXiv:2412.03453).

The head is Linear(d,d) without bias, BatchNorm1d, ReLU, Linear(d,classes). In VGG it replaces the whole `classifier`;
there d is 25088, and the first layer of the head has 629 million weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.defenses.checkpoints import filled, load
from purebench.defenses.mlvgm.official import find_official, read_official

KIND = "paper-classifier"
TASKS = {"gender": ("resnet50", 2), "ids": ("vgg11_bn", 100), "cars": ("resnext50_32x4d", 4)}
"""Network and number of classes by task."""
HEADS = {"resnet50": "fc", "resnext50_32x4d": "fc", "vgg11_bn": "classifier"}
PUBLISHED = "https://huggingface.co/SerezD/gen_adversarial/tree/main/classifiers"
COMPETITORS = "https://huggingface.co/SerezD/gen_adversarial/tree/main/competitors"


class PaperClassifier(nn.Module):
    """Classifier of images [N,3,H,W] in [0,1] to logits [N,classes]; it normalises its input itself (mean, std 0.5).

    Args:
        network: `resnet50`, `resnext50_32x4d` or `vgg11_bn`.
        classes: number of classes.

    Raises:
        PurebenchError: If the network is unknown.
    """

    def __init__(self, *, network: str, classes: int):
        super().__init__()
        if network not in HEADS:
            raise PurebenchError(f"network: {network!r} is unknown; {did_you_mean(network, HEADS)}")
        from torchvision import models

        self.model: nn.Module = getattr(models, network)(weights=None)
        place = HEADS[network]
        own = self.model.get_submodule(place)
        first = own[0] if isinstance(own, nn.Sequential) else own
        assert isinstance(first, nn.Linear)
        width = first.in_features
        head = nn.Sequential(
            nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes)
        )
        setattr(self.model, place, head)
        self.architecture: dict[str, Any] = {"network": network, "classes": classes}

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,classes]."""
        logits: Tensor = self.model((x - 0.5) / 0.5)
        return logits


def paper_classifier(
    *,
    task: str | None = None,
    network: str | None = None,
    classes: int | None = None,
    weights: str | None = None,
) -> PaperClassifier:
    """Load a classifier of Serez et al. 2025 by task (gender, ids, cars), from its official file.

    Args:
        task: `gender`, `ids` or `cars`.
        network: name of the network, instead of a task; requires classes and weights.
        classes: number of classes, instead of a task.
        weights: the authors' checkpoint or its conversion; None for `classifiers/TASK.pt` in the folder
            $PUREBENCH_MODELS.

    Returns:
        The classifier, in eval mode.

    Raises:
        MissingFiles: If the file does not exist.
        PurebenchError: If the arguments contradict each other, or the file holds another network or number of classes.
    """
    if task is not None:
        if task not in TASKS:
            raise PurebenchError(f"task: {task!r} is unknown; {did_you_mean(task, TASKS)}")
        if network is not None or classes is not None:
            raise PurebenchError("mlvgm-paper: expected a task, or a network and its classes, but got both; drop one.")
        network, classes = TASKS[task]
    elif network is None or classes is None or weights is None:
        raise PurebenchError("mlvgm-paper: expected a task (task=gender), or network, classes and weights; name them.")
    return _checked(find_official(f"classifiers/{task}.pt", PUBLISHED, weights), network, classes)


@listed(
    random=False,
    gradient="exact",
    surrogate="none",
    forwards=0,
    ms="varies",
    licence="varies",
    source="Zhang et al. 2019, arXiv:1901.08573",
)
def trades_released(*, name: str, weights: str | None = None) -> PaperClassifier:
    """Return the TRADES classifier of Serez et al. 2025, trades-released/TASK; trained at l2 radius 4 (ids: 2).

    It is the third competitor of their release, and is attacked there without EOT. The name of the published file is
    not known, so the default name below was chosen here.

    Args:
        name: `gender`, `ids` or `cars`.
        weights: the authors' checkpoint or its conversion; None for `competitors/trades/TASK.pt` in the folder
            $PUREBENCH_MODELS.

    Raises:
        MissingFiles: If the file does not exist.
        PurebenchError: If the task is unknown, or the file holds another network or number of classes.
    """
    if name not in TASKS:
        raise PurebenchError(f"trades-released: {name!r} is unknown; {did_you_mean(name, TASKS)}")
    return _checked(find_official(f"competitors/trades/{name}.pt", COMPETITORS, weights), *TASKS[name])


def _checked(path: Path, network: str, classes: int) -> PaperClassifier:
    """Load a classifier and check that it is the expected one."""
    model, wanted = load_classifier(path), {"network": network, "classes": classes}
    if model.architecture != wanted:
        raise PurebenchError(f"{path}: expected {wanted}, but got {model.architecture}; name the right file.")
    return model


def load_classifier(path: str | Path) -> PaperClassifier:
    """Load a classifier from the official file, or from a file written by `purebench convert`.

    Args:
        path: the file.

    Returns:
        The classifier, in eval mode, without parameter gradients.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return load(str(path), KIND, PaperClassifier)
    return classifier_from(path, read_official(path))


def classifier_from(path: Path, file: Mapping[str, Any]) -> PaperClassifier:
    """Build a classifier from the content of its official file, {'epoch', 'global_step', 'state_dict'}.

    The file does not state the network; it is inferred from the shapes of the weights.

    Args:
        path: the file, for error messages only.
        file: its content.

    Returns:
        The classifier, in eval mode, without parameter gradients.

    Raises:
        PurebenchError: If the network is unknown, or keys, shapes or values do not fit.
    """
    state = file.get("state_dict")
    if not isinstance(state, Mapping):
        raise PurebenchError(f"{path}: expected the entry 'state_dict', but it is missing; name the authors' own file.")
    network = network_of(state)
    last = state.get(f"model.{HEADS.get(network or '')}.3.weight")
    if network is None or not isinstance(last, Tensor) or last.ndim != 2:
        some = ", ".join(sorted(map(str, state))[:3])
        raise PurebenchError(
            f"{path}: expected one of {', '.join(HEADS)} with the paper's head, but its keys are {some} …"
        )
    with torch.device("meta"):
        model = PaperClassifier(network=network, classes=len(last))
    return filled(path, model, state)


def network_of(state: Mapping[str, Any]) -> str | None:
    """Return which of the three networks the keys and shapes belong to, or None.

    ResNeXt's 3×3 convolutions have 32 groups.
    """
    if "model.features.0.weight" in state:
        return "vgg11_bn"
    middle = state.get("model.layer1.0.conv2.weight")
    if not isinstance(middle, Tensor) or middle.ndim != 4:
        return None
    return "resnet50" if middle.shape[1] == len(middle) else "resnext50_32x4d"
