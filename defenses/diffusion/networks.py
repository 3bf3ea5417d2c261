"""Loads noise-prediction networks: bundled ones, diffusers' folders, and checkpoints in the published layouts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from purebench.core.errors import PurebenchError, shown
from purebench.defenses.checkpoints import brief, find, kind_in, load
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.defenses.diffusion.architectures.layouts import BUILDERS, build
from purebench.defenses.diffusion.architectures.parametrisation import LINEAR, MEANINGS
from purebench.defenses.mlvgm.official import CONVERTED, ENDINGS, read_official
from purebench.defenses.persistent_pickles import ENDING as PICKLE
from purebench.defenses.persistent_pickles import read_persistent

LABELS = ("time", "index")
SCHEDULER = "scheduler_config.json"
ASSUMED = {
    "prediction_type": "epsilon",
    "num_train_timesteps": 1000,
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
    "beta_schedule": "linear",
}
"""Settings of a network that all purifiers here assume, by diffusers' names: noise under DDPM's linear schedule.
Only `beta_schedule` must be stated, because older schedulers lack some of the others, and other families all."""


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
            checkpoint.
        architecture: arguments of the network that cannot be inferred from the keys: `groups` of HoUNet; and of
            guided-diffusion's networks other than the published one, which are refused without them, `head_width` or
            `heads`, `split_first` and `parametrisation`. What a network predicts, its `parametrisation`, must be stated
            where the file leaves it open: `linear` for score_sde's networks, of which VP and sub-VP have the same keys,
            and for a folder of diffusers without its scheduler_config.json; `edm` for a state dict of EDM's layout
            without augmentation labels.
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
    if architecture is not None and not isinstance(architecture, Mapping):
        raise PurebenchError(
            f"architecture: expected arguments by name, such as {{'parametrisation': '{LINEAR}'}}, but got "
            f"{shown(architecture)}; write them so, or leave it out."
        )
    path, options = Path(weights).expanduser(), dict(architecture or {})
    if path.is_dir():
        model = _from_diffusers(path, options)
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


def _from_diffusers(folder: Path, options: Mapping[str, Any]) -> nn.Module:
    """Load a folder that UNet2DModel saved; its schedule, stored with it or stated, must be the linear one."""
    from diffusers import UNet2DModel

    places = (folder / SCHEDULER, folder.parent / "scheduler" / SCHEDULER)
    found = [place for place in places if place.is_file()]
    stated = f"state architecture={{'parametrisation': '{LINEAR}'}} if the network predicts {MEANINGS[LINEAR]}"
    if options not in ({}, {"parametrisation": LINEAR}):
        raise PurebenchError(
            f"{folder}: expected no architecture but parametrisation={LINEAR}, because config.json states it, but got "
            f"{dict(options)}; {'leave it out' if found else stated}."
        )
    for place in found:
        _check_schedule(place)
    if not found and (folder / "config.json").is_file() and not options:
        raise PurebenchError(
            f"{folder}: expected {SCHEDULER} in it or in {places[1].parent}, which states the noise schedule and what "
            f"the network predicts, but there is none; copy that of its pipeline, or {stated}."
        )
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
    if not isinstance(stated, dict):
        raise PurebenchError(f"{place}: expected a JSON object, but got {shown(stated)}; fetch it again.")
    for name, value in ASSUMED.items():
        missing = name == "beta_schedule" and name not in stated
        if missing or stated.get(name, value) != value:
            came = "none" if missing else shown(stated[name])
            raise PurebenchError(
                f"{place}: expected {name} {json.dumps(value)}, but got {came}; name a network of DDPM's linear "
                "schedule that predicts noise."
            )
