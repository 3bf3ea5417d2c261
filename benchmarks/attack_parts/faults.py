"""Defenses with known faults around a classifier of known accuracy under attack.

Each function is a factory for a board: `benchmarks/attack_parts/faults.py:decoy`. All but the last few leave the
predicted class unchanged, so that the true accuracy is that of the wrapped classifier.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from own_classifier import own_classifier
from torch import Tensor, nn

from purebench.core.defense import Defense, Purifier

Change = Callable[[Tensor, Tensor], Tensor]
"""change(images, logits) → logits."""


class Wrapped(nn.Module):
    """A classifier, optionally after Gaussian noise, whose logits are changed."""

    def __init__(self, change: Change, noise: float = 0.0, *, hidden: bool = False):
        super().__init__()
        self.change, self.noise = change, noise
        model = own_classifier()
        self.parts = [model]  # a list, so that it is no part that can be found
        if not hidden:
            self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return the changed logits."""
        if self.noise:
            x = (x + self.noise * torch.randn_like(x)).clamp(0, 1)
        return self.change(x, self.parts[0](x))


def _defense(change: Change, noise: float = 0.0, *, hidden: bool = False) -> Defense:
    return Defense(Wrapped(change, noise, hidden=hidden), random=noise > 0)


def plain(classifier: nn.Module, noise: float = 0.0) -> Defense:
    """The classifier without a fault, whose accuracy is the truth."""
    return _defense(lambda x, logits: logits, noise)


def decoy(classifier: nn.Module, noise: float = 0.0) -> Defense:
    """A large linear term on the largest logit, which the gradient follows."""

    def change(x: Tensor, logits: Tensor) -> Tensor:
        term = 100 * (1 + x.flatten(1).mean(1, keepdim=True))
        return logits.scatter_add(1, logits.argmax(1, keepdim=True), term)

    return _defense(change, noise)


def saturated(classifier: nn.Module) -> Defense:
    """Logits so large that the gradient of the cross-entropy is zero."""
    return _defense(lambda x, logits: logits * 1e5)


def detached(classifier: nn.Module, noise: float = 0.0) -> Defense:
    """A gradient of zero."""
    return _defense(lambda x, logits: logits.detach() + 0 * x.sum(), noise)


def flipped(classifier: nn.Module) -> Defense:
    """The negative gradient."""
    return _defense(lambda x, logits: 2 * logits.detach() - logits)


def shattered(classifier: nn.Module) -> Defense:
    """A term of very high frequency that changes no answer, but whose gradient hides that of the logits."""

    def change(x: Tensor, logits: Tensor) -> Tensor:
        wave = torch.sin(1e5 * x).flatten(1).sum(1, keepdim=True)
        weights = torch.linspace(-1, 1, logits.shape[1])
        return logits + 1e-4 * wave * weights / 32

    return _defense(change)


def not_a_number(classifier: nn.Module) -> Defense:
    """A gradient that is not a number."""
    return _defense(lambda x, logits: logits + torch.sqrt((x - x).abs()).sum())


def low_precision(classifier: nn.Module) -> Defense:
    """Logits rounded to steps of a half, whose gradient is zero; ties keep the predicted class."""

    def change(x: Tensor, logits: Tensor) -> Tensor:
        rounded = (2 * logits).round() / 2
        first = torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 0.1)
        return rounded + first

    return _defense(change)


def hard_labels(classifier: nn.Module, noise: float = 0.0) -> Defense:
    """The predicted class alone."""
    return _defense(lambda x, logits: nn.functional.one_hot(logits.argmax(1), logits.shape[1]) + 0 * logits, noise)


def hidden_labels(classifier: nn.Module) -> Defense:
    """The predicted class alone, from a classifier that is no part of the module."""
    return _defense(
        lambda x, logits: nn.functional.one_hot(logits.argmax(1), logits.shape[1]) + 0 * logits, hidden=True
    )


class Memory(nn.Module):
    """Remembers images, and answers to near ones as to the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.model = own_classifier()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the first image that was seen within 0.1 in linf, else those of x."""
        answers = self.model(x)
        rows = []
        for image, answer in zip(x, answers, strict=True):
            near = [old for other, old in self.seen if float((image - other).abs().max()) < 0.1]
            if not near and len(self.seen) < 200:
                self.seen.append((image.detach().clone(), answer.detach().clone()))
            rows.append(near[0] + 0 * answer if near else answer)
        return torch.stack(rows)


def memory(classifier: nn.Module) -> Defense:
    """A defense that remembers the images that it was asked about."""
    return Defense(Memory())


class WrongSurrogate(Purifier):
    """Rounds to sixteen levels; declares no gradient, and a surrogate that inverts the image."""

    random = False
    differentiable = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded image."""
        return (15 * x).round() / 15

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the inverted image, whose gradient misleads."""
        return 1 - x


def wrong_surrogate(classifier: nn.Module) -> Defense:
    """A purifier whose surrogate misleads BPDA."""
    return Defense(own_classifier(), WrongSurrogate())


class PerCall(nn.Module):
    """Two classifiers, one of which is chosen at each call, with a decoy term."""

    def __init__(self) -> None:
        super().__init__()
        self.models = nn.ModuleList([own_classifier(0), own_classifier(1)])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of one of the two."""
        logits = self.models[int(torch.randint(0, 2, ()))](x)
        term = 100 * (1 + x.flatten(1).mean(1, keepdim=True))
        return logits.scatter_add(1, logits.argmax(1, keepdim=True), term)


def per_call(classifier: nn.Module) -> Defense:
    """An ensemble that chooses a classifier at each call, with decoy logits."""
    return Defense(PerCall(), random=True)
