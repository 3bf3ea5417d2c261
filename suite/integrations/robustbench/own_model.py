"""Loads a user's own model for RobustBench's protocol, which is for deterministic models only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purebench.core import registry
from purebench.core.answers import DefenseFault, NotLogits, check_logits
from purebench.core.defense import Purifier
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec

SHAPES = {"cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "imagenet": (3, 224, 224)}
"""Shape of an image [C,H,W]."""
CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
PROBES = 4
"""Number of random images on which a model is tried before it is evaluated."""
TOLERANCE = 1e-4
"""Largest difference of two answers to the same image by rounding, as in AutoAttack's own check."""


class Answering(nn.Module):
    """A model whose answers are logits, as RobustBench requires.

    Args:
        model: A module, or a callable, from images [N,C,H,W] in [0,1] to logits [N,K].
    """

    def __init__(self, model: nn.Module | object):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N,K]."""
        assert callable(self.model)
        return check_logits(self.model(x), len(x))


def is_own(model: str) -> bool:
    """Return whether a name is that of a file's model, `path/to/file.py:name`, and not of the zoo."""
    return "(" in model or Spec(model).path is not None


def load_own(model: str, dataset: str) -> nn.Module:
    """Make a model from a file.

    Args:
        model: Such as "mine.py:model" or "mine.py:model(depth=20)": a factory, or a class, of a module or a callable
            from images [N,C,H,W] in [0,1] to logits [N,K].
        dataset: cifar10, cifar100 or imagenet.

    Returns:
        The module in eval mode, with frozen weights.

    Raises:
        PurebenchError: The file or the model is not found, its answers are not logits of the data set's classes, or it
            is random.
    """
    found = registry.create("classifiers", Spec.parse(model))
    if isinstance(found, Purifier) or not callable(found):
        raise PurebenchError(
            f"{model}: expected a model from images in [0,1] to logits, but got a {type(found).__name__}; return a "
            "classifier, or a Defense(classifier, purifier)."
        )
    made = Answering(found).eval().requires_grad_(False)
    x = torch.rand(PROBES, *SHAPES[dataset], generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            first, second = made(x), made(x)
    except (NotLogits, DefenseFault) as error:
        raise PurebenchError(f"{model}: {error}") from error
    except Exception as error:  # a user's model may raise anything
        told = f"{type(error).__name__}: {str(error)[:300]}"
        raise PurebenchError(f"{model}: cannot answer images of shape {[PROBES, *SHAPES[dataset]]}: {told}") from error
    if first.shape[1] != CLASSES[dataset]:
        raise PurebenchError(f"{model}: expected {CLASSES[dataset]} classes for {dataset}, but got {first.shape[1]}.")
    if getattr(found, "random", False) is True or float((first - second).abs().max()) > TOLERANCE:
        raise PurebenchError(
            f"{model}: expected a deterministic model, but it is random; RobustBench's rules exclude random models, "
            "because AutoAttack standard overestimates their robustness. Evaluate it on a board (purebench run)."
        )
    return made
