"""Adapters for purifiers in the class layouts of public repositories, and for pipelines of diffusers.

An object that a repository's own code made becomes a `Defense` or a `Purifier`; its weights become part of it, so
that they decide the results' keys. The repository itself is not imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from purebench.core.defense import Defense, Purifier
from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.diffpure import DiffPure
from purebench.defenses.diffusion.networks import Predictor
from purebench.defenses.diffusion.purifier import StepOptions
from purebench.defenses.transforms.resized import resize

DIFFERENTIABLE = ("sde", "ode", "ldsde")
"""Values of DiffPure's `diffusion_type` whose runner passes gradients on; the others run under `torch.no_grad`."""
VARIANCES = {"fixed_small": "posterior", "fixed_small_log": "posterior", "fixed_large": "beta"}
"""Names of DiffusionPurifier's variances by those of diffusers' DDPMScheduler."""


class RepositoryPurifier(Purifier):
    """A purifier that a repository's own code computes.

    Args:
        models: the modules that compute it, whose weights belong to the purifier.
        purify: maps images [N,C,H,W] in [0,1] to purified images of the same shape.
        differentiable: False if no gradient can pass.
        stand_in: the surrogate that BPDA differentiates; None for the identity.
    """

    random = True

    def __init__(
        self,
        *models: nn.Module,
        purify: Callable[[Tensor], Tensor],
        differentiable: bool,
        stand_in: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.purify, self.differentiable, self.stand_in = purify, differentiable, stand_in

    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images."""
        return self.purify(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the surrogate's images, or x if there is none."""
        return x if self.stand_in is None else self.stand_in(x)


def from_lee_kim(
    model: nn.Module, *, classifier: nn.Module | None = None, attacked: nn.Module | None = None
) -> Defense:
    """Adapt a `PurificationForward` of Lee & Kim 2023 (arXiv:2303.09051), or of the repositories built on theirs.

    Its `preprocess` purifies, and its `clf` classifies. Gradients pass through every step, all of which are kept in
    memory; `gradual-noise` computes the same with little memory.

    Args:
        model: the `PurificationForward` that defends.
        classifier: the classifier, instead of the model's own. For ImageNet it is required, and normalises its input:
            the repository's classifier does not, its `forward` does.
        attacked: the `PurificationForward` with fewer steps that the repository's attack differentiates; it becomes the
            surrogate of BPDA. None for the identity.

    Returns:
        The defense: one run, without the repository's vote over several runs (see `vote`).

    Raises:
        PurebenchError: If the object has another layout, or no classifier is given for ImageNet.
    """
    _check("PurificationForward", model, "preprocess", "clf", "is_imagenet")
    imagenet: Any = model.is_imagenet
    if imagenet and classifier is None:
        raise PurebenchError(
            "from_lee_kim: expected a classifier that normalises its input, because the model's own for ImageNet does "
            "not; pass classifier=create('classifiers', Spec('torchvision:resnet50'))."
        )

    def purified(by: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: resize(by.preprocess(x), x.shape[-2:]) if imagenet else by.preprocess(x)

    models, stand_in = [model], None
    if attacked is not None:
        _check("PurificationForward", attacked, "preprocess")
        models, stand_in = [model, attacked], purified(attacked)
    purifier = RepositoryPurifier(*models, purify=purified(model), differentiable=True, stand_in=stand_in)
    return Defense(classifier or model.clf, purifier)  # type: ignore[arg-type]


def from_diffpure(model: nn.Module) -> Defense:
    """Adapt an `SDE_Adv_Model` of DiffPure's release (Nie et al. 2022, arXiv:2205.07460).

    Its runner purifies, at 256 pixels for ImageNet, and its `classifier` classifies. With `diffusion_type` sde, ode or
    ldsde the runner's gradient is that of the adjoint method, an approximation; `diffpure/cifar10` has the exact one.
    The other runners have no gradient, and exact attacks on them are SKIPPED.

    Args:
        model: the model.

    Returns:
        The defense.

    Raises:
        PurebenchError: If the object has another layout.
    """
    _check("SDE_Adv_Model", model, "runner", "classifier", "args")
    runner: Any = model.runner
    arguments: Any = model.args

    def purify(x: Tensor) -> Tensor:
        large = resize(x, (256, 256)) if "imagenet" in arguments.domain else x
        # from batch 2 on, the runner writes no pictures
        state = runner.image_editing_sample((large - 0.5) * 2, bs_id=2, tag="purebench")
        state = resize(state, x.shape[-2:]) if "imagenet" in arguments.domain else state
        return (state + 1) * 0.5

    differentiable, classifier = arguments.diffusion_type in DIFFERENTIABLE, model.classifier
    assert isinstance(classifier, nn.Module)
    return Defense(classifier, RepositoryPurifier(model, purify=purify, differentiable=differentiable))


def from_diffhammer(model: nn.Module) -> Defense:
    """Adapt a defense of DiffHammer (Wang et al. 2024) or FlowPure: a class with `purify` and `classifier`.

    Their `purify` detaches its result, because they compute gradients by hand in another method. So there is no
    gradient through it, and BPDA with the identity takes the place of exact attacks. DiffHammer's likelihood
    maximisation computes gradients inside, which is why they are enabled here.

    Args:
        model: the defense, such as `DiffPureClassifier`.

    Returns:
        The defense.

    Raises:
        PurebenchError: If the object has another layout.
    """
    _check("DiffPureClassifier", model, "purify", "classifier")
    computed: Any = model.purify

    def purify(x: Tensor) -> Tensor:
        with torch.enable_grad():
            purified: Tensor = computed(x.detach())
        return purified.detach()

    return Defense(model.classifier, RepositoryPurifier(model, purify=purify, differentiable=False))  # type: ignore[arg-type]


def from_pipeline(
    pipeline: Any, *, t: int = 100, steps: int = 10, sampler: str = "ddpm", **options: Unpack[StepOptions]
) -> DiffPure:
    """Purify with the network and the noise schedule of a pipeline of diffusers, such as `DDPMPipeline`.

    Noise up to t* is added and removed as in DiffPure. The noise schedule, clipping and variance are those of the
    pipeline's scheduler. The timesteps are those of DiffPure, evenly spaced to the clean image; `timestep_spacing`,
    `steps_offset` and `set_alpha_to_one` of the scheduler have no effect. A step of DDIM derives the noise from the
    clipped image, as diffusers does with `use_clipped_model_output`.

    Args:
        pipeline: a pipeline with `unet`, an unconditional UNet2DModel on pixels, and `scheduler`.
        t: timestep t* in 1..T of the scheduler's schedule.
        steps: reverse steps, at most t.
        sampler: `ddpm` or `ddim`.
        **options: options of DiffusionPurifier, which take the place of the scheduler's.

    Returns:
        The purifier.

    Raises:
        PurebenchError: If the pipeline is of another kind, does not predict the noise, clips otherwise than to [-1,1],
            or keeps nothing of the image at t*.
    """
    _check("pipeline", pipeline, "unet", "scheduler")
    _check("pipeline's scheduler", pipeline.scheduler, "config", "alphas_cumprod")
    net, config, levels = pipeline.unet, pipeline.scheduler.config, pipeline.scheduler.alphas_cumprod
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise PurebenchError(
            f"from_pipeline: expected a network that predicts the noise (epsilon), but got {config.prediction_type!r}; "
            "name another pipeline."
        )
    if net.config.in_channels != net.config.out_channels or net.config.get("num_class_embeds") is not None:
        raise PurebenchError("from_pipeline: expected an unconditional network with as many channels out as in.")
    variance = config.get("variance_type", "fixed_small")
    if "variance" not in options and variance not in VARIANCES:
        raise PurebenchError(
            f"from_pipeline: expected the variance {', '.join(VARIANCES)}, but got {variance!r}; pass variance=beta."
        )
    if not torch.as_tensor(levels).isfinite().all():
        raise PurebenchError(
            "from_pipeline: expected finite alphas_cumprod of the scheduler, but got NaN or infinity; make the "
            "scheduler again."
        )
    if isinstance(t, int) and 1 <= t <= len(levels) and not levels[t - 1] > 0:  # with rescale_betas_zero_snr
        raise PurebenchError(
            f"from_pipeline: expected a t at which the scheduler keeps a part of the image, but at t={t} its alpha-bar "
            f"is {float(levels[t - 1]):g}; choose a smaller t."
        )
    clip = bool(config.get("clip_sample", False))
    if "clip" not in options:
        _check_clipping(config, clip)
    chosen: StepOptions = {"clip": clip, "levels": levels}
    if sampler == "ddpm":
        chosen["variance"] = VARIANCES.get(variance, "posterior")
    chosen.update(options)
    return DiffPure(Predictor(net), t=t, steps=steps, sampler=sampler, **chosen)


def _check_clipping(config: Mapping[str, Any], clip: bool) -> None:
    """Raise PurebenchError unless a scheduler of diffusers clips the predicted image to [-1,1], or does not clip it."""
    cure = "pass clip=True to clip to [-1,1] instead, or clip=False"
    if config.get("thresholding"):
        raise PurebenchError(
            f"from_pipeline: expected a scheduler without thresholding, but got thresholding=True; {cure}."
        )
    if clip and config.get("clip_sample_range", 1) != 1:
        raise PurebenchError(
            f"from_pipeline: expected clip_sample_range 1, but got {config['clip_sample_range']}; {cure}."
        )


def _check(layout: str, model: object, *names: str) -> None:
    """Raise PurebenchError if an object lacks an attribute of its repository's class."""
    missing = [name for name in names if getattr(model, name, None) is None]
    if missing:
        raise PurebenchError(
            f"expected an object in the layout of {layout}, with {', '.join(names)}, but {type(model).__name__} has no "
            f"{', '.join(missing)}; write a Purifier (docs/from-a-repository.md)."
        )
