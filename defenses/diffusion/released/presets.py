"""The names of the published purifiers, such as `diffpure/cifar10`, with what each declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from purebench.core.defense import Purifier
from purebench.core.defense.listed import listed
from purebench.defenses.diffusion.released.settings import released


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=100,
    ms=None,
    licence="Apache 2.0",
    source="Nie et al. 2022, arXiv:2205.07460",
)
def diffpure_cifar10(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify as DiffPure was released for CIFAR-10 under linf 8/255: the reverse SDE from t* = 0.1 (Nie et al. 2022).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("diffpure/cifar10", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=75,
    ms=None,
    licence="Apache 2.0",
    source="Nie et al. 2022, arXiv:2205.07460",
)
def diffpure_cifar10_l2(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify as DiffPure was released for CIFAR-10 under l2 0.5: the reverse SDE from t* = 0.075 (Nie et al. 2022).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("diffpure/cifar10-l2", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=150,
    ms=None,
    licence="MIT",
    source="Nie et al. 2022, arXiv:2205.07460",
)
def diffpure_imagenet(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify as DiffPure was released for ImageNet: the reverse SDE from t* = 0.15 at 256 pixels (Nie et al. 2022).

    The release runs the network in float16, this one in float32.

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("diffpure/imagenet", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=5,
    ms=None,
    licence="Apache 2.0",
    source="Lee & Kim 2023, arXiv:2303.09051",
)
def ddpm_surrogate_cifar10(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify by DDPM from t* = 200 in 5 steps, the cheapest setting of Lee & Kim 2023 for CIFAR-10.

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("ddpm-surrogate/cifar10", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=470,
    ms=None,
    licence="Apache 2.0",
    source="Lee & Kim 2023, arXiv:2303.09051",
)
def gradual_noise_cifar10(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify by gradual noise scheduling as released for CIFAR-10, in eight runs (Lee & Kim 2023).

    The release answers by a majority of ten runs: vote(defense='gradual-noise/cifar10', draws=10).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("gradual-noise/cifar10", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=620,
    ms=None,
    licence="MIT",
    source="Lee & Kim 2023, arXiv:2303.09051",
)
def gradual_noise_imagenet(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify by gradual noise scheduling as released for ImageNet, in eight runs (Lee & Kim 2023).

    The release answers by a majority of ten runs: vote(defense='gradual-noise/imagenet', draws=10).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("gradual-noise/imagenet", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=144,
    ms=None,
    licence="not stated",
    source="Wang et al. 2022, arXiv:2205.14969",
)
def gdmp_cifar10(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify by GDMP as released for CIFAR-10, in four guided rounds from t* = 36 (Wang et al. 2022).

    The release combines ten paths in three ways, and does not say which is the paper's: vote(…, draws=10).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("gdmp/cifar10", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=45,
    ms=None,
    licence="MIT",
    source="Wang et al. 2022, arXiv:2205.14969",
)
def gdmp_imagenet(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify by GDMP as released for ImageNet, in 45 guided steps with learned variance (Wang et al. 2022).

    The release combines five paths: vote(defense='gdmp/imagenet', draws=5).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("gdmp/imagenet", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=100,
    ms=None,
    licence="Apache 2.0",
    source="Pei et al. 2025, arXiv:2505.01267",
)
def freqpure_cifar10(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    checkpointed: bool = True,
    surrogate: str = "identity",
) -> Purifier:
    """Purify by FreqPure as released for CIFAR-10 (second version of its script; Pei et al. 2025).

    The release answers by a majority of ten runs: vote(defense='freqpure/cifar10', draws=10).

    Args:
        weights: path of the network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        checkpointed: whether to recompute each step in the backward pass.
        surrogate: the surrogate that BPDA differentiates, `identity` or the one-step `denoiser`.
    """
    return released("freqpure/cifar10", weights, architecture, checkpointed=checkpointed, surrogate=surrogate)


@listed(
    random=True,
    gradient="exact",
    surrogate="identity",
    forwards=5,
    ms=None,
    licence="CC BY-NC-SA 4.0",
    source="Chen et al. 2023, arXiv:2305.15241",
)
def likelihood_maximisation_iclr(
    *,
    weights: str | None = None,
    architecture: Mapping[str, Any] | None = None,
    seed: int | None = None,
    checkpointed: bool = True,
) -> Purifier:
    """Maximise the likelihood of EDM's network by five steps of Adam, as DiffusionClassifier's code was released.

    The released code draws the same noise in every call (seed=1), and BPDA is its only gradient.

    Args:
        weights: path of EDM's network; None for the authors' file in the folder $PUREBENCH_MODELS.
        architecture: arguments of the network that another file does not reveal.
        seed: seed of all noise, 1 in the release; None for fresh noise at each call.
        checkpointed: whether to recompute each step in the backward pass.
    """
    return released("likelihood-maximisation/iclr", weights, architecture, seed=seed, checkpointed=checkpointed)
