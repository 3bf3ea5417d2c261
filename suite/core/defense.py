"""A defense is a classifier behind a purifier; it is what is evaluated."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from purebench.core.batching import DeviceBatch
from purebench.core.errors import PurebenchError

Module = TypeVar("Module", bound=nn.Module)


class Purifier(nn.Module, ABC):
    """Cleans images [N,C,H,W] in [0,1] before the classifier sees them.

    `random` says whether two passes over one image may differ. Randomness comes from torch's global generators, so
    that seeding them decides a result; images of a batch must not influence each other. `differentiable` is False for a
    purifier through which no gradient can come (a file in between, say): attacks through it are SKIPPED there, and BPDA
    takes their place. One that only forgot to pass its gradient on is ERRORED. `resizes` is True for a purifier whose
    images have another size than it was given, which the classifier behind it takes.
    """

    random: bool
    differentiable: bool = True
    resizes: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Purified images, same shape; differentiable wherever the method is, so no `torch.no_grad` inside."""

    def surrogate(self, x: Tensor) -> Tensor:
        """A differentiable stand-in, used in the backward pass of BPDA (Athalye et al. 2018, arXiv:1802.00420).

        The identity unless a purifier brings a better one.
        """
        return x


Mix = Callable[[int, Tensor, Tensor], Tensor]
"""mix(i, encoded, sampled): latent i as decoded, from the image's code and a sample of the prior, [N,…] each."""


class LatentPurifier(Purifier):
    """A purifier that mixes the latents of a generative model: keeps some of each, and samples the rest.

    An attacker who knows it reads the codes and how much of each is kept; who wants to understand it mixes otherwise.
    """

    @property
    @abstractmethod
    def kept(self) -> list[float]:
        """Share of each latent that purification keeps, in [0,1], coarse to fine: 1 - alpha_i."""

    @abstractmethod
    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Images [N,C,H,W] in [0,1] → images of the same shape and range, each latent passed through `mix`.

        `mix` is called for each latent once, coarse to fine; returning `encoded` always, it reconstructs. Whatever
        purification does to an image before encoding is done here too, unless it is random. Differentiable.
        """

    def codes(self, x: Tensor) -> list[Tensor]:
        """The latents [N,…] that the reconstruction of images [N,C,H,W] in [0,1] is decoded from, coarse to fine.

        Differentiable; nothing random is in them.
        """
        found: list[Tensor] = []

        def keep(_: int, encoded: Tensor, sampled: Tensor) -> Tensor:
            found.append(encoded)
            return encoded

        self.autoencode(x, keep)
        return found

    def with_alphas(self, alphas: Sequence[float]) -> LatentPurifier:
        """The same model under other alphas: the share of each latent that is resampled, in [0,1], coarse to fine.

        What is done to an image before encoding stays; a purifier that does something random there overrides this.
        Raises PurebenchError for another number of them, or what is not in [0,1].
        """
        return Remixed(self, alphas)


class Remixed(LatentPurifier):
    """Another latent purifier, mixing by alphas of its own: z_i = (1 - alpha_i)·encoded_i + alpha_i·sampled_i."""

    def __init__(self, purifier: LatentPurifier, alphas: Sequence[float]):
        super().__init__()
        latents = len(purifier.kept)
        if len(alphas) != latents or not all(0 <= alpha <= 1 for alpha in alphas):
            raise PurebenchError(f"alphas: expected {latents} numbers in [0,1], one a latent, but got {list(alphas)}.")
        self.purifier, self.alphas = purifier, [float(alpha) for alpha in alphas]
        self.random = any(alpha > 0 for alpha in self.alphas)

    @property
    def kept(self) -> list[float]:
        """1 - alpha_i of every latent, coarse to fine."""
        return [1 - alpha for alpha in self.alphas]

    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """The other purifier's."""
        return self.purifier.autoencode(x, mix)

    def forward(self, x: Tensor) -> Tensor:
        """Purified images."""
        return self.autoencode(x, lambda i, code, sample: (1 - self.alphas[i]) * code + self.alphas[i] * sample)

    def surrogate(self, x: Tensor) -> Tensor:
        """The other purifier's."""
        return self.purifier.surrogate(x)


class Function(Purifier):
    """Any callable on images as a purifier, with any other as its surrogate; for the rest see `Purifier`."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        random: bool,
        differentiable: bool = True,
        surrogate: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.function, self.random, self.differentiable, self.stand_in = function, random, differentiable, surrogate

    def forward(self, x: Tensor) -> Tensor:
        """The function's answer."""
        return self.function(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """The surrogate given, else the identity."""
        return x if self.stand_in is None else self.stand_in(x)


class Defense(nn.Module):
    """classifier ∘ purifier: images [N,C,H,W] in [0,1] → logits [N,K]; one call is one draw.

    classifier: any module or callable from images in [0,1] to logits. purifier: None for the classifier alone.
    random: True if the classifier itself is random. passes: images that one answer passes through the classifier.
    shares_draws: whether all images of a call get the same random choice (a model of an ensemble, a crop), so that each
    draw needs a call of its own; None until somebody found out (see `draw_independence`).
    """

    passes: int = 1
    shares_draws: bool | None = None

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
        """What the classifier sees, [N,C,H,W]; of a defense that votes, the images of all votes, [N,votes,C,H,W]."""
        return x if self.purifier is None else self.purifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N,K] of one draw."""
        return self.classifier(self.purify(x))

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of every part; what `keep_random_layers_on` marked stays random in any."""
        super().train(mode)
        for part in self.modules():
            if vars(part).get(STAYS_RANDOM):
                part.training = True
        return self


STAYS_RANDOM = "stays_random"
"""The attribute of a layer that is random in evaluation too."""


def random_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a module that answer randomly in training mode: dropout, and what drops inside other layers."""
    return [part for part in module.modules() if _drops(part)]


def _drops(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.dropout._DropoutNd | nn.AlphaDropout | nn.FeatureAlphaDropout):
        return layer.p > 0
    if isinstance(layer, nn.MultiheadAttention | nn.RNNBase):
        return layer.dropout > 0
    return isinstance(layer, nn.RReLU) or type(layer).__name__ in ("StochasticDepth", "DropPath")


def keep_random_layers_on(module: Module, *kinds: type[nn.Module]) -> Module:
    """Keeps the dropout of a module on while it is evaluated (Monte Carlo dropout); batch norm stays in eval mode.

    Args:
        module: any module; the same one is returned.
        kinds: classes of further layers that are random in training mode.

    Returns:
        The module, whose dropout layers stay in training mode inside a `Defense`:
        `Defense(keep_random_layers_on(model), random=True)`.

    Raises:
        PurebenchError: if there is no such layer.
    """
    layers = [*random_layers(module), *(part for part in module.modules() if isinstance(part, kinds))]
    if not layers:
        raise PurebenchError(
            f"keep_random_layers_on: expected a module with dropout layers, but {type(module).__name__} has none; "
            "name the classes of its random layers: keep_random_layers_on(module, MyNoise)."
        )
    for layer in layers:
        setattr(layer, STAYS_RANDOM, True)
    return module


@dataclass(frozen=True)
class Certificate:
    """What is proven of a defense's answers to N images.

    classes: int [N], the class that it answers, -1 where it abstains. radii: float64 [N], how far in l2 an image may be
    moved before that can change, 0 where it abstains. passes: images passed to find out.
    """

    classes: Tensor
    radii: Tensor
    passes: int


@runtime_checkable
class Certifier(Protocol):
    """A defense that can prove something of its answers."""

    def certify(self, x: Tensor, *, n0: int, n: int, alpha: float, batch: DeviceBatch) -> Certificate:
        """What is proven of the answers to images [N,C,H,W], each wrong with a probability of at most alpha.

        n0, n: draws to guess the class and to measure its probability; batch: how many pass at once.
        """


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
    """sha256 over the names, types, shapes and bytes of all weights and buffers, 64 hex digits.

    What a quantised layer keeps instead of tensors counts by its parts: integers, scales, packed weights.
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        _digest(digest, name, value)
    return digest.hexdigest()


def _digest(digest: hashlib._Hash, name: str, value: object) -> None:
    if isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _digest(digest, f"{name}.{number}", part)
        return
    if not isinstance(value, Tensor):
        digest.update(f"{name}{value!r}".encode())
        return
    flat = value.detach().cpu()
    if flat.is_quantized:
        scales = (
            flat.q_scale()
            if flat.qscheme() in (torch.per_tensor_affine, torch.per_tensor_symmetric)
            else (
                flat.q_per_channel_scales().tolist(),
                flat.q_per_channel_zero_points().tolist(),
                flat.q_per_channel_axis(),
            )
        )
        digest.update(f"{scales}".encode())
        flat = flat.int_repr()
    flat = (flat.to_dense() if flat.layout is not torch.strided else flat).contiguous()
    digest.update(f"{name}{flat.dtype}{tuple(flat.shape)}".encode())
    digest.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
