"""Defines purifiers and defenses; a defense, a classifier behind a purifier, is what is evaluated."""

from __future__ import annotations

import functools
import hashlib
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from purebench.core.arguments import known_parameters
from purebench.core.batching import DeviceBatch
from purebench.core.errors import PurebenchError

Module = TypeVar("Module", bound=nn.Module)


class Purifier(nn.Module, ABC):
    """A module that removes perturbations from images [N,C,H,W] in [0,1] before the classifier.

    Randomness comes from torch's global generators, so that seeding them determines a result. Images of a batch must
    not influence each other.

    Attributes:
        random: whether two passes over the same image may differ.
        differentiable: False for a purifier through which no gradient can pass (because of a file in between, for
            example). Attacks through it are SKIPPED, and BPDA takes their place. A purifier that merely does not pass
            its gradient on by mistake is ERRORED.
        resizes: True for a purifier whose output has another size than its input; the classifier takes that size.
    """

    random: bool
    differentiable: bool = True
    resizes: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images, of the same shape.

        It is differentiable wherever the method is, so it must not use `torch.no_grad` inside.
        """

    def surrogate(self, x: Tensor) -> Tensor:
        """Return a differentiable approximation for the backward pass of BPDA (Athalye et al. 2018, arXiv:1802.00420).

        The default is the identity; a purifier may override it with a better approximation.
        """
        return x


Mix = Callable[[int, Tensor, Tensor], Tensor]
"""mix(i, encoded, sampled): returns latent i for decoding, from the image's code and a sample of the prior, [N,…]
each."""


class LatentPurifier(Purifier):
    """A purifier that mixes the latents of a generative model: it keeps a part of each latent and samples the rest.

    An attacker who knows the purifier reads the codes and the kept share of each latent. Tools for its inspection apply
    other mixtures.
    """

    @property
    @abstractmethod
    def kept(self) -> list[float]:
        """Share of each latent that purification keeps, in [0,1], coarse to fine: 1 - alpha_i."""

    @abstractmethod
    def autoencode(self, x: Tensor, mix: Mix) -> Tensor:
        """Encode images, pass each latent through `mix`, and decode.

        Differentiable. Deterministic processing of images before encoding is part of it; random processing is not.

        Args:
            x: images [N,C,H,W] in [0,1].
            mix: called once for each latent, coarse to fine. If it always returns `encoded`, the image is
                reconstructed.

        Returns:
            Images of the same shape and range.
        """

    def codes(self, x: Tensor) -> list[Tensor]:
        """Return the latents [N,…] from which the reconstruction of images is decoded, coarse to fine.

        Differentiable and deterministic.

        Args:
            x: images [N,C,H,W] in [0,1].
        """
        found: list[Tensor] = []

        def keep(_: int, encoded: Tensor, sampled: Tensor) -> Tensor:
            found.append(encoded)
            return encoded

        self.autoencode(x, keep)
        return found

    def with_alphas(self, alphas: Sequence[float]) -> LatentPurifier:
        """Return a purifier with the same model and other alphas.

        The processing before encoding stays the same. A purifier that does something random there overrides this
        method.

        Args:
            alphas: the share of each latent that is resampled, in [0,1], coarse to fine.

        Raises:
            PurebenchError: the number of alphas is wrong, or a value is not in [0,1].
        """
        return Remixed(self, alphas)


class Remixed(LatentPurifier):
    """A latent purifier that applies its own alphas to another: z_i = (1 - alpha_i)·encoded_i + alpha_i·sampled_i."""

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
        """Call the wrapped purifier's `autoencode`."""
        return self.purifier.autoencode(x, mix)

    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images."""
        return self.autoencode(x, lambda i, code, sample: (1 - self.alphas[i]) * code + self.alphas[i] * sample)

    def surrogate(self, x: Tensor) -> Tensor:
        """Call the wrapped purifier's `surrogate`."""
        return self.purifier.surrogate(x)


class Function(Purifier):
    """A purifier made of any callable on images, with an optional surrogate; for the rest see `Purifier`.

    Args:
        function: a callable from images [N,C,H,W] in [0,1] to purified images.
        random: whether two passes over the same image may differ.
        differentiable: False if no gradient can pass through the function.
        surrogate: a differentiable callable for the backward pass of BPDA; None for the identity.
    """

    @known_parameters
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
        """Call the function."""
        return self.function(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """Call the given surrogate, or return x if there is none."""
        return x if self.stand_in is None else self.stand_in(x)


class Defense(nn.Module):
    """classifier ∘ purifier: images [N,C,H,W] in [0,1] → logits [N,K]; one call is one draw.

    Attributes:
        classifier: a module or callable from images in [0,1] to logits.
        purifier: None for the classifier alone.
        classifier_random: whether the classifier itself is random; the argument `random` of the constructor.
        passes: the number of images that pass through the classifier for one answer.
        shares_draws: whether all images of a call get the same random choice (a model of an ensemble, a crop), so that
            each draw needs a call of its own; None until it has been determined (see `draw_independence`).
    """

    passes: int = 1
    shares_draws: bool | None = None

    @known_parameters
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
        """True if repeated answers to the same image may differ."""
        return self.classifier_random or (self.purifier is not None and self.purifier.random)

    def purify(self, x: Tensor) -> Tensor:
        """Return the input of the classifier.

        Args:
            x: images [N,C,H,W] in [0,1].

        Returns:
            Images [N,C,H,W]. A defense that votes returns the images of all votes, [N,votes,C,H,W].
        """
        return x if self.purifier is None else self.purifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N,K] of one draw."""
        return self.classifier(self.purify(x))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts; layers marked by `keep_random_layers_on` stay random in either mode."""
        super().train(mode)
        for part in self.modules():
            if vars(part).get(STAYS_RANDOM):
                part.training = True
        return self


STAYS_RANDOM = "stays_random"
"""The attribute of a layer that is also random in evaluation."""


def random_layers(module: nn.Module) -> list[nn.Module]:
    """Return the layers that are random in training mode: dropout, and layers with dropout inside."""
    return [part for part in module.modules() if _drops(part)]


def _drops(layer: nn.Module) -> bool:
    if isinstance(layer, nn.modules.dropout._DropoutNd | nn.AlphaDropout | nn.FeatureAlphaDropout):
        return layer.p > 0
    if isinstance(layer, nn.MultiheadAttention | nn.RNNBase):
        return layer.dropout > 0
    return isinstance(layer, nn.RReLU) or type(layer).__name__ in ("StochasticDepth", "DropPath")


def keep_random_layers_on(module: Module, *kinds: type[nn.Module]) -> Module:
    """Keep the dropout layers of a module on in evaluation (Monte Carlo dropout); batch norm stays in eval mode.

    Args:
        module: any module; it is modified in place and returned.
        kinds: classes of further layers that are random in training mode.

    Returns:
        The module, whose dropout layers stay in training mode inside a `Defense`, as in
            `Defense(keep_random_layers_on(model), random=True)`.

    Raises:
        PurebenchError: the module has no such layer.
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
    """Certified classes and radii of a defense for N images.

    Attributes:
        classes: int [N], the predicted class, -1 where the defense abstains.
        radii: float64 [N], the largest l2 norm of a perturbation under which the prediction provably stays the same, 0
            where the defense abstains.
        passes: images passed to compute the certificate.
    """

    classes: Tensor
    radii: Tensor
    passes: int


@runtime_checkable
class Certifier(Protocol):
    """A defense that can certify its answers."""

    def certify(self, x: Tensor, *, n0: int, n: int, alpha: float, batch: DeviceBatch) -> Certificate:
        """Certify the answers to images; each certificate is wrong with a probability of at most alpha.

        Args:
            x: images [N,C,H,W].
            n0: draws to guess the class.
            n: draws to estimate its probability.
            alpha: the largest probability of a wrong certificate.
            batch: the device batch, the number of images that pass at once.
        """


def as_defense(
    thing: Defense | Purifier | nn.Module | Callable[[Tensor], Tensor],
    classifier: nn.Module | None = None,
    *,
    random: bool = False,
) -> Defense:
    """Wrap anything that can be evaluated as a `Defense`, in eval mode and without parameter gradients.

    Args:
        thing: a `Defense`, which is returned itself, a `Purifier`, which is placed before `classifier`, or another
            module or callable, which returns logits.
        classifier: the classifier behind a purifier.
        random: whether a plain module or callable is random.

    Returns:
        The defense.

    Raises:
        TypeError: a purifier is given without a classifier or does not declare `random`, or the object is not callable.
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
    """Return the sha256 of the names, types, shapes and bytes of all weights and buffers, 64 hex digits.

    A quantised layer stores other values than tensors; these are hashed by their parts: integers, scales, packed
    weights.
    """
    digest = hashlib.sha256()
    for name, value in (*module.state_dict().items(), *_kept_aside(module)):
        _digest(digest, name, value)
    return digest.hexdigest()


def _kept_aside(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield arrays and weights that the state dictionary lacks: in attributes, lists, closures and partials."""
    seen = {id(one) for one in (*module.modules(), *module.parameters(), *module.buffers())}
    left: list[tuple[str, object]] = [
        (f"{name}.{key}", value)
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if not key.startswith("_")
    ]
    while left:
        name, value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, np.ndarray):
            yield name, (value.dtype.str, value.shape, value.tobytes() if value.dtype.kind in "biufc" else b"")
        elif isinstance(value, nn.Module):
            yield from ((f"{name}.{key}", one) for key, one in value.state_dict().items())
            left += [(f"{name}.{key}", one) for key, one in vars(value).items() if not key.startswith("_")]
        elif isinstance(value, list | tuple):
            left += [(f"{name}.{number}", one) for number, one in enumerate(value)]
        elif isinstance(value, dict):
            left += [(f"{name}.{number}", one) for number, one in enumerate(value.values())]
        elif isinstance(value, functools.partial):
            left += [(f"{name}.func", value.func), (f"{name}.args", value.args), (f"{name}.keywords", value.keywords)]
        elif isinstance(value, types.MethodType):
            left.append((name, value.__self__))
        elif isinstance(value, types.FunctionType):
            empty = types.CellType()  # of a variable that has no value yet
            cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            left += [(f"{name}.{key}", cell.cell_contents) for key, cell in cells if cell != empty]
            left += [(f"{name}.defaults", value.__defaults__), (f"{name}.keyword defaults", value.__kwdefaults__)]


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
