"""A defense is a classifier behind a purifier; it is what is evaluated."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Purifier(nn.Module, ABC):
    """Cleans images [N,C,H,W] in [0,1] before the classifier sees them.

    `random` says whether two passes over one image may differ. Randomness comes from torch's global generators, so
    that seeding them decides a result; images of a batch must not influence each other.
    """

    random: bool

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Purified images, same shape; differentiable wherever the method is, so no `torch.no_grad` inside."""

    def surrogate(self, x: Tensor) -> Tensor:
        """A differentiable stand-in, used in the backward pass of BPDA (Athalye et al. 2018, arXiv:1802.00420).

        The identity unless a purifier brings a better one.
        """
        return x


class LatentPurifier(Purifier):
    """A purifier that mixes the latents of a generative model: keeps some of each, and samples the rest.

    An attacker who knows it reads the codes and how much of each is kept.
    """

    @property
    @abstractmethod
    def kept(self) -> list[float]:
        """Share of each latent that purification keeps, in [0,1], coarse to fine: 1 - alpha_i."""

    @abstractmethod
    def codes(self, x: Tensor) -> list[Tensor]:
        """The latents [N,…] that images [N,C,H,W] in [0,1] are encoded to, coarse to fine; differentiable."""


class Function(Purifier):
    """Any callable on images as a purifier, with any other as its surrogate."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        random: bool,
        surrogate: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.function, self.random, self.stand_in = function, random, surrogate

    def forward(self, x: Tensor) -> Tensor:
        """The function's answer."""
        return self.function(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """The surrogate given, else the identity."""
        return x if self.stand_in is None else self.stand_in(x)


class Defense(nn.Module):
    """classifier ∘ purifier: images [N,C,H,W] in [0,1] → logits [N,K]; one call is one draw.

    classifier: any module or callable from images in [0,1] to logits. purifier: None for the classifier alone.
    random: True if the classifier itself is random.
    """

    def __init__(
        self,
        classifier: nn.Module | Callable[[Tensor], Tensor],
        purifier: Purifier | None = None,
        *,
        random: bool = False,
    ):
        super().__init__()
        self.classifier, self.purifier = classifier, purifier
        self.classifier_random = random

    @property
    def random(self) -> bool:
        """Whether the answer to the same image may differ next time."""
        return self.classifier_random or (self.purifier is not None and self.purifier.random)

    def purify(self, x: Tensor) -> Tensor:
        """What the classifier sees, [N,C,H,W]."""
        return x if self.purifier is None else self.purifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N,K] of one draw."""
        return self.classifier(self.purify(x))


def as_defense(
    thing: Defense | Purifier | nn.Module | Callable[[Tensor], Tensor],
    classifier: nn.Module | None = None,
    *,
    random: bool = False,
) -> Defense:
    """The one wrapper: a defense as it is, a purifier before `classifier`, any other module or callable as logits.

    Everything is put in eval mode and keeps no parameter gradients.
    Raises TypeError if a purifier comes without a classifier, or something that cannot be called.
    """
    if isinstance(thing, Defense):
        defense = thing
    elif isinstance(thing, Purifier):
        if not isinstance(getattr(thing, "random", None), bool):
            raise TypeError(f"as_defense: expected {type(thing).__name__}.random to be True or False; declare it.")
        if classifier is None:
            raise TypeError("as_defense: expected a classifier for the purifier to stand before, but got None.")
        defense = Defense(classifier, thing)
    elif callable(thing):
        defense = Defense(thing, random=random)
    else:
        raise TypeError(f"as_defense: expected a Defense, a Purifier, a module or a callable, but got {type(thing)}.")
    return defense.eval().requires_grad_(False)


def fingerprint(module: nn.Module) -> str:
    """sha256 over the names, types, shapes and bytes of all weights and buffers, 64 hex digits."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        flat = value.detach().cpu().contiguous()
        digest.update(f"{name}{flat.dtype}{tuple(flat.shape)}".encode())
        digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
