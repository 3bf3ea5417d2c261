"""Preprocessing defences of the Adversarial Robustness Toolbox by class name (Nicolae et al. 2018, arXiv:1807.01069).

Example: `art:JpegCompression(quality=50)`. The surrogate is ART's own estimate of the gradient: the result of
`estimate_gradient` for the gradient with respect to the output, which is this gradient itself unless a defence provides
a better estimate. Defences that are written in PyTorch are differentiated exactly.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.seeds import seeded

RANDOM = ("Cutout", "CutoutPyTorch", "GaussianAugmentation", "TotalVarMin")
"""Defences whose output for the same image is random."""
KEEPS = ("FeatureSqueezing", "GaussianAugmentation")
"""Defences that process each value by itself, so that the layout does not matter."""
OURS: Mapping[str, Any] = {
    "channels_first": True,
    "clip_values": (0.0, 1.0),
    "device_type": "cpu",
    "verbose": False,
    "augmentation": False,
    "apply_fit": False,
    "apply_predict": True,
}
"""Fixed parameters, not options: the layout of the images, and that they are purified rather than augmented."""
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "GaussianAugmentation": {"sigma": 0.1},
    "TotalVarMin": {"prob": 0.5, "lamb": 0.1},
}
"""Replacements of ART's defaults: its noise is as wide as the range of the images, and its smoothing removes most of
the content of small images."""
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "it is for audio": ("Mp3Compression", "Mp3CompressionPyTorch", "Resample"),
    "it is for videos": ("VideoCompression", "VideoCompressionPyTorch"),
    "it mixes images and labels, for training": ("CutMix", "CutMixPyTorch", "LabelSmoothing", "Mixup", "MixupPyTorch"),
    "it needs TensorFlow": (
        "CutMixTensorFlowV2",
        "CutoutTensorFlowV2",
        "MixupTensorFlowV2",
        "SpatialSmoothingTensorFlowV2",
    ),
    "it changes the number of channels, which needs a special classifier": ("ThermometerEncoding",),
    "it needs a PixelCNN, which ART does not bring": ("PixelDefend",),
    "it is the base class": ("Preprocessor",),
}
"""Defences of ART 1.20 that cannot be used before an image classifier, by the reason."""


def art_defences() -> dict[str, type]:
    """Return ART's preprocessing defences by name, including the excluded ones."""
    import art.defences.preprocessor as found
    from art.defences.preprocessor import Preprocessor

    known = vars(found).items()
    return {name: kind for name, kind in known if inspect.isclass(kind) and issubclass(kind, Preprocessor)}


class Estimated(torch.autograd.Function):
    """Identity in the forward pass; a defence's own gradient estimate in the backward pass."""

    @staticmethod
    def forward(context: Any, x: Tensor, purifier: ArtPreprocessing) -> Tensor:
        """Return a copy of x."""
        context.save_for_backward(x)
        context.purifier = purifier
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return ART's estimate of the gradient, in the layout of x."""
        (x,), (gradient,) = context.saved_tensors, gradients
        purifier = context.purifier
        found = purifier.defence.estimate_gradient(purifier.theirs(x), purifier.theirs(gradient))
        return purifier.ours(found, x), None


class ArtPreprocessing(Purifier):
    """Purifier with a preprocessing defence of ART.

    ART draws from numpy's generator, which is seeded from torch's here.

    Args:
        defence: any ART `Preprocessor` over images in [0,1].
        first: whether the defence expects channels first.
        random: whether two outputs for the same image may differ.
    """

    def __init__(self, defence: Any, *, first: bool, random: bool):
        super().__init__()
        from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

        self.defence, self.first, self.random = defence, first, random
        self.differentiable = self.native = isinstance(defence, PreprocessorPyTorch)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the defence in [0,1]; it has a gradient only if the defence is written in PyTorch.

        Raises:
            PurebenchError: If the output has another shape.
        """
        with seeded("art", str(int(torch.randint(2**62, ())) if self.random else 0)):
            if self.native:
                found: Tensor = self.defence.forward(x)[0]
            else:
                found = self.ours(self.defence(self.theirs(x.clamp(0, 1)))[0], x)
        if found.shape != x.shape:
            name = type(self.defence).__name__
            raise PurebenchError(
                f"art:{name}: expected images of shape {list(x.shape)}, but got {list(found.shape)}; leave it out."
            )
        return found.clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        """Return a surrogate whose gradient is ART's estimate; its value, which BPDA does not use, is x."""
        if self.native:
            with seeded("art", "surrogate"):
                estimate: Tensor = self.defence.estimate_forward(x)
            return estimate
        through: Tensor = Estimated.apply(x, self)
        return through

    def theirs(self, x: Tensor) -> np.ndarray:
        """Return images in ART's format: a new float32 array with channels where the defence expects them."""
        images = x.detach().float().cpu()
        return np.array((images if self.first else images.permute(0, 2, 3, 1)).numpy(), order="C")

    def ours(self, found: Any, like: Tensor) -> Tensor:
        """Return an array of ART as images [N,C,H,W] with the type of `like`."""
        images = torch.as_tensor(np.asarray(found))
        return (images if self.first else images.permute(0, 3, 1, 2)).to(like)


@listed(
    random="varies",
    gradient="varies",
    surrogate="varies",
    forwards=0,
    ms="varies",
    licence="MIT",
    source="Nicolae et al. 2018, arXiv:1807.01069",
)
def from_art(name: str, **options: Any) -> ArtPreprocessing:
    """Purify with an ART preprocessing defence, by class name; its own gradient estimate is the surrogate.

    Args:
        name: class name of the defence.
        **options: parameters of the defence.

    Raises:
        PurebenchError: If the name or an option is unknown, an option is missing or invalid, or the defence cannot be
            used before an image classifier.
    """
    known = art_defences()
    if name not in known:
        raise PurebenchError(f"art: {name!r} is unknown; {did_you_mean(name, usable(known))}")
    for reason, names in LEFT_OUT.items():
        if name in names:
            raise PurebenchError(f"art:{name}: cannot be used, because {reason}; use {', '.join(usable(known))}.")
    takes = inspect.signature(known[name]).parameters
    allowed = [key for key in takes if key not in OURS]
    for key in options:
        if key not in allowed:
            raise PurebenchError(f"art:{name}: the parameter {key!r} is unknown; {did_you_mean(key, allowed)}")
    settings = {**DEFAULTS.get(name, {}), **{key: value for key, value in OURS.items() if key in takes}, **options}
    for key in allowed:
        if takes[key].default is inspect.Parameter.empty and key not in settings:
            raise PurebenchError(f"art:{name}: expected the parameter {key!r}, but it is missing.")
    try:
        defence = known[name](**settings)
    except ImportError as error:
        raise PurebenchError(
            f"art:{name}: expected the packages that it needs, but one is not installed ({error}); install it."
        ) from error
    except (ValueError, TypeError) as error:
        raise PurebenchError(f"art:{name}: expected parameters that ART accepts, but got {options}: {error}") from error
    return ArtPreprocessing(defence, first="channels_first" in takes or name in KEEPS, random=name in RANDOM)


def usable(known: Mapping[str, type]) -> list[str]:
    """Return the names of the defences that can be used, in alphabetical order."""
    out = {name for names in LEFT_OUT.values() for name in names}
    return sorted(name for name in known if name not in out)
