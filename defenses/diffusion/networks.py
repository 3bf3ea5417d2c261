"""Loads noise-prediction networks: bundled ones, diffusers' folders, guided-diffusion, and score_sde's DDPM++."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import brief, check_keys, in_float32, load
from purebench.defenses.diffusion.checkpoint_layouts import (
    averaged,
    ddpmpp_architecture,
    guided_architecture,
    is_ddpmpp,
    is_guided,
)
from purebench.defenses.diffusion.ddpmpp import DDPMpp
from purebench.defenses.diffusion.guided_unet import GuidedUNet
from purebench.defenses.diffusion.unet import FoldedUNet
from purebench.defenses.mlvgm.official import ENDINGS, read_official

LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02, "num_train_timesteps": 1000}
"""The noise schedule that all purifiers here assume, by diffusers' names."""


class Predictor(nn.Module):
    """Noise-prediction network eps(x_t, t) that wraps diffusers' UNet2DModel."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: noisy images [N,C,H,W], scaled to [-1,1].
            t: timesteps [N] in 0..999.

        Returns:
            The predicted noise [N,C,H,W].
        """
        predicted: Tensor = self.unet(x, t).sample
        return predicted


def network(weights: str, architecture: Mapping[str, Any] | None = None) -> nn.Module:
    """Load a noise-prediction network eps(x_t, t), in eval mode, without parameter gradients.

    The network maps noisy images [N,C,H,W], scaled to [-1,1], and timesteps [N] in 0..999 to the predicted noise. It
    must have been trained with DDPM's linear schedule of 1,000 steps.

    Args:
        weights: a bundled name or a .safetensors file of this package; a folder of diffusers' UNet2DModel (config.json
            and weights); or a checkpoint (.pt, .pth, .ckpt) of guided-diffusion or of score_sde's VP family, recognised
            by its keys. Only tensors and plain values are read from a checkpoint.
        architecture: arguments of GuidedUNet (head_width or heads, split_first) or DDPMpp that cannot be inferred from
            the keys.

    Returns:
        The network.

    Raises:
        PurebenchError: If files are missing, damaged or of another layout, or keys are missing or unexpected.
    """
    path, options = Path(weights).expanduser(), dict(architecture or {})
    if path.is_dir():
        return _frozen(_from_diffusers(path))
    if path.suffix in ENDINGS:
        return _frozen(_from_checkpoint(path, options))
    if options:
        raise PurebenchError(
            f"{weights}: expected no architecture, because the file states its own, but got {options}."
        )
    return load(weights, "folded-unet", FoldedUNet)


def _from_checkpoint(path: Path, options: Mapping[str, Any]) -> nn.Module:
    """Build a network from the layout of its checkpoint and load the weights strictly."""
    checkpoint = read_official(path)
    try:
        model: nn.Module
        if is_guided(checkpoint):
            state = dict(checkpoint)
            model = GuidedUNet(**{**guided_architecture(state), **options})
        elif is_ddpmpp(checkpoint):
            state = averaged(checkpoint)
            model = DDPMpp(**{**ddpmpp_architecture(state), **options})
        else:
            raise PurebenchError(
                "expected the keys of guided-diffusion (input_blocks…) or score_sde (all_modules…), but got "
                f"{', '.join(map(str, list(checkpoint)[:3]))}…; name such a checkpoint, or diffusers' folder."
            )
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise PurebenchError(
            f"{path}: expected an architecture that can be built, but got {dict(options)} ({brief(error)}); "
            "name GuidedUNet's or DDPMpp's arguments."
        ) from error
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(in_float32(state))
    return model


def _from_diffusers(folder: Path) -> nn.Module:
    """Load a folder that UNet2DModel saved; a schedule stored with it must be the linear one."""
    from diffusers import UNet2DModel

    for place in (folder / "scheduler_config.json", folder.parent / "scheduler" / "scheduler_config.json"):
        if place.is_file():
            _check_schedule(place)
    try:
        model, report = UNet2DModel.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise PurebenchError(
            f"{folder}: expected a folder of diffusers' UNet2DModel (config.json and its weights), but it could not "
            f"be loaded as one ({brief(error)[:200]}); name the `unet` folder of the pipeline."
        ) from error
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(fault):
            raise PurebenchError(
                f"{folder}: expected just the model's keys, but {sorted(report[fault])[0]!r} is among the "
                f"{fault.replace('_', ' ')}; fetch it again."
            )
    unconditional = model.config.num_class_embeds is None and model.config.class_embed_type is None
    if not unconditional or model.config.in_channels != model.config.out_channels:
        raise PurebenchError(
            f"{folder}: expected an unconditional network with as many channels out as in, but got another; "
            "name one that predicts noise."
        )
    return Predictor(model.float())


def _check_schedule(place: Path) -> None:
    """Raise PurebenchError unless diffusers' configuration states the linear schedule and noise prediction."""
    try:
        stated = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PurebenchError(
            f"{place}: expected a JSON file, but it cannot be parsed ({brief(error)}); fetch it again."
        ) from error
    for name, value in {**LINEAR, "prediction_type": "epsilon"}.items():
        if stated.get(name, value) != value:
            raise PurebenchError(
                f"{place}: expected {name} {value}, but got {stated[name]}; name a network of DDPM's linear schedule "
                "that predicts noise."
            )


def _frozen(model: nn.Module) -> nn.Module:
    """Return the model in eval mode, without parameter gradients."""
    return model.eval().requires_grad_(False)
