"""Loads noise-prediction networks: bundled ones, diffusers' folders, and checkpoints in the published layouts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import brief, find, kind_in, load
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.defenses.diffusion.architectures.layouts import BUILDERS, build
from purebench.defenses.mlvgm.official import CONVERTED, ENDINGS, read_official
from purebench.defenses.persistent_pickles import ENDING as PICKLE
from purebench.defenses.persistent_pickles import read_persistent

LABELS = ("time", "index")
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


def network(weights: str | Path, architecture: Mapping[str, Any] | None = None, *, label: str = "time") -> nn.Module:
    """Load a noise-prediction network eps(x_t, t), in eval mode, without parameter gradients.

    The network maps noisy images [N,C,H,W], scaled to [-1,1], and timesteps [N] in 0..999 to the predicted noise. It
    must have been trained with DDPM's linear schedule of 1,000 steps; EDM's network is converted to it.

    Args:
        weights: a bundled name or a .safetensors file of this package; a folder of diffusers' UNet2DModel (config.json
            and weights); or a checkpoint (.pt, .pth, .ckpt, .pkl) of guided-diffusion, of score_sde's VP family, of EDM
            or of DDPM's U-Net (pesser's port), recognised by its keys. Only tensors and plain values are read from a
            checkpoint. score_sde's VP and sub-VP networks cannot be told apart by their keys; name a VP one.
        architecture: arguments of the network that cannot be inferred from the keys: `groups` of HoUNet; and of
            guided-diffusion's networks other than the published one, which are refused without them, `head_width` or
            `heads`, `split_first` and `parametrisation` (`linear`).
        label: what score_sde's network, trained in continuous time, is given for timestep i: its `time` 0.999·(i + 1),
            or its `index` i, as in the code of Lee & Kim 2023. Other networks are given the index in either case.

    Returns:
        The network. What was done to unwrap a checkpoint stands in its attribute `notes`.

    Raises:
        PurebenchError: If files are missing, damaged or of another layout, keys are missing or unexpected, or it is
            open what the network predicts.
    """
    if label not in LABELS:
        raise PurebenchError(f"label: expected {' or '.join(LABELS)}, but got {label!r}.")
    path, options = Path(weights).expanduser(), dict(architecture or {})
    if path.is_dir():
        model = _from_diffusers(path)
    elif path.suffix in (*ENDINGS, PICKLE):
        content = read_persistent(path) if path.suffix == PICKLE else read_official(path)
        _, model, unwrapped = build(path, content, options)
        model.notes = unwrapped.notes  # type: ignore[assignment]
    else:
        if options:
            raise PurebenchError(
                f"{weights}: expected no architecture, because the file states its own, but got {options}."
            )
        named = str(path if path.suffix == CONVERTED else weights)
        kind = kind_in(find(named))
        model = load(named, kind if kind in BUILDERS else "folded-unet", BUILDERS.get(kind, nn.Module))
    if isinstance(model, DDPMpp):
        model.continuous = label == "time"
    return model.eval().requires_grad_(False)


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
