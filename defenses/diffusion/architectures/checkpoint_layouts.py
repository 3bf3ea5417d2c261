"""Recognises the checkpoints of guided-diffusion, score_sde and EDM, and infers the architecture from their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from purebench.core.errors import PurebenchError


def is_guided(state: Mapping[str, Tensor]) -> bool:
    """Return whether a checkpoint has the layout of guided-diffusion."""
    return {"time_embed.0.weight", "input_blocks.0.0.weight"} <= state.keys()


def guided_architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the arguments of GuidedUNet, except for the heads, from the keys and shapes of a checkpoint.

    Args:
        state: the weights by key.

    Returns:
        The arguments of GuidedUNet.

    Raises:
        PurebenchError: If the network is class-conditional, so that it predicts no noise without a label, or the
            checkpoint has another layout.
    """
    if "label_emb.weight" in state:
        raise PurebenchError(
            "guided-diffusion: expected an unconditional network, but got one conditioned on classes (label_emb); "
            "name the unconditional checkpoint."
        )
    width = state["time_embed.0.weight"].shape[1]
    ends: list[int] = []  # the last block of each level but the first
    multiples: list[int] = []
    attended: list[bool] = []
    residual_resize, seen = False, 0
    while f"output_blocks.{seen}.0.in_layers.2.weight" in state:
        layers = _layers(state, f"output_blocks.{seen}.")
        if layers[-1] == "conv" or layers.count("in_layers") == 2:
            ends.append(seen)
            residual_resize |= layers[-1] == "in_layers"
        seen += 1
    try:
        blocks = ends[0] if ends else seen - 1  # of the deepest level
        for start in range(0, seen, blocks + 1):
            outer = state[f"output_blocks.{start}.0.in_layers.2.weight"].shape[0]
            multiples.insert(0, outer // width)
            attended.insert(0, "qkv" in _layers(state, f"output_blocks.{start}."))
        outer = state["output_blocks.0.0.in_layers.2.weight"].shape[0]
        return {
            "channels": state["input_blocks.0.0.weight"].shape[1],
            "outputs": state["out.2.weight"].shape[0],
            "width": width,
            "multiples": multiples,
            "blocks": blocks,
            "attended": attended,
            "modulated": state["output_blocks.0.0.emb_layers.1.weight"].shape[0] == 2 * outer,
            "residual_resize": residual_resize,
        }
    except (LookupError, ZeroDivisionError) as error:
        raise PurebenchError(
            f"guided-diffusion: expected the keys of a whole U-Net, but {error} is missing; fetch the file again."
        ) from error


def _layers(state: Mapping[str, Tensor], block: str) -> list[str]:
    """Return the kinds of a block's layers: in_layers for residual, qkv for attention, conv for Up."""
    kinds: dict[int, str] = {}
    for name in state:
        if found := re.match(rf"{re.escape(block)}(\d+)\.(in_layers|qkv|conv)\.", name):
            kinds[int(found.group(1))] = found.group(2)
    return [kinds[place] for place in sorted(kinds)]


PUBLISHED: Final = {
    "channels": 3,
    "outputs": 6,
    "width": 256,
    "multiples": [1, 1, 2, 2, 4, 4],
    "blocks": 2,
    "attended": [False, False, False, True, True, True],
    "modulated": True,
    "residual_resize": True,
}
"""The architecture of guided-diffusion's 256x256_diffusion_uncond.pt, as far as its keys reveal it. It predicts the
noise under DDPM's linear schedule. Its attention heads have 64 channels and are split before query, key and value."""


def is_published(inferred: Mapping[str, Any]) -> bool:
    """Return whether the keys are those of the published unconditional network of guided-diffusion.

    Keys reveal neither the attention heads nor what a network predicts. EDM's, consistency models' and
    improved-diffusion's networks have such keys too, and other schedules were trained with all of these layouts.
    """
    return dict(inferred) == PUBLISHED


def is_ddpmpp(state: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint has the layout of score_sde: the whole training state, or only that of its model."""
    model = state.get("model", state)
    return isinstance(model, Mapping) and any("all_modules.0." in str(name) for name in model)


def check_family(checkpoint: Mapping[str, Any]) -> None:
    """Raise PurebenchError for the families of score_sde's networks other than DDPM++.

    Args:
        checkpoint: the content of a checkpoint.
    """
    model = checkpoint.get("model", checkpoint)
    names = {str(name).removeprefix("module.") for name in model}
    blocks = {name.rsplit(".", 2)[0] for name in names if name.endswith(".Conv_0.weight")}
    family = None
    if "all_modules.0.W" in names:
        family = "NCSN++ of the VE family (a Fourier embedding of sigma)"
    elif any(f"{block}.NIN_0.W" in names for block in blocks):
        family = "DDPM (no BigGAN blocks)"
    if family:
        raise PurebenchError(
            f"score_sde: expected a DDPM++ network of the VP family (cifar10_ddpmpp…), but got {family}, which is "
            "another network with another parametrisation; name a checkpoint of the VP family."
        )


def averaged(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of a checkpoint by the keys of DDPMpp, with the moving average where the checkpoint has it.

    The average is a list in the order of the model's parameters, `ema.shadow_params`. The table of noise levels
    (`sigmas`) that other networks of the repository use is left out.

    Args:
        checkpoint: the content of a checkpoint.

    Raises:
        PurebenchError: If the number or the shapes of the averages do not fit the model.
    """
    model = checkpoint.get("model", checkpoint)
    state = {str(name).removeprefix("module."): value for name, value in model.items()}
    state.pop("sigmas", None)
    shadows = checkpoint.get("ema", {}).get("shadow_params")
    if shadows is None:
        return state
    if [value.shape for value in state.values()] != [value.shape for value in shadows]:
        raise PurebenchError(
            f"score_sde: expected as many moving averages, of the same shapes, as the model's {len(state)} weights, "
            f"but got {len(shadows)} that do not fit; fetch the file again."
        )
    return dict(zip(state, shadows, strict=True))


def ddpmpp_architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the arguments of DDPMpp from the keys and shapes of a checkpoint.

    Args:
        state: the weights by key.

    Returns:
        The arguments of DDPMpp.

    Raises:
        PurebenchError: If the checkpoint has another layout of the family.
    """
    try:
        width, channels = state["all_modules.0.weight"].shape[1], state["all_modules.2.weight"].shape[1]
        kinds = _kinds(state)
        joints = [place for place, kind in enumerate(kinds) if kind == "resized"]
        residuals = kinds.count("residual")  # blocks of each level, twice and one more, and two in the middle
        blocks = kinds[: joints[0]].count("residual") if joints else (residuals - 3) // 2
        multiples, attended, place = [], [], 0
        for _ in range(len(joints) // 2 + 1):
            multiples.append(state[f"all_modules.{place + 3}.Conv_0.weight"].shape[0] // width)
            attended.append(kinds[place + 1] == "attention")
            place += blocks * (1 + attended[-1]) + 1
    except (LookupError, ZeroDivisionError) as error:
        raise PurebenchError(
            f"score_sde: expected the keys of a DDPM++ network (BigGAN blocks, sinusoids of time), but {error} does "
            "not fit; name a checkpoint of the VP family (cifar10_ddpmpp…)."
        ) from error
    return {"channels": channels, "width": width, "multiples": multiples, "blocks": blocks, "attended": attended}


def _kinds(state: Mapping[str, Tensor]) -> list[str]:
    """Return the kinds of the modules after the first convolution, in order, up to the last norm."""
    kinds, place = [], 3
    while True:
        if f"all_modules.{place}.NIN_0.W" in state:
            kinds.append("attention")
        elif f"all_modules.{place}.Conv_0.weight" in state:
            outer, inner = state[f"all_modules.{place}.Conv_0.weight"].shape[:2]
            resized = inner == outer and f"all_modules.{place}.Conv_2.weight" in state
            kinds.append("resized" if resized else "residual")
        else:
            return kinds
        place += 1


def is_edm(state: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint has the layout of EDM's networks."""
    return "model.map_layer0.weight" in state and any(name.startswith("model.enc.") for name in state)


def edm_architecture(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Infer the arguments of EDM from the keys and shapes of a checkpoint.

    Args:
        state: the weights by key.

    Raises:
        PurebenchError: If the network is class-conditional, or of another family than DDPM++ (VP).
    """
    others = {
        "model.map_label.weight": "a network conditioned on classes (map_label)",
        "model.map_noise.freqs": "an NCSN++ (VE) network",
        "model.out_conv.weight": "an ADM network",
    }
    for name, what in others.items():
        if name in state:
            raise PurebenchError(
                f"EDM: expected an unconditional DDPM++ network, but got {what}; name edm-cifar10-32x32-uncond-vp."
            )
    try:
        (first,) = (name for name in state if re.fullmatch(r"model\.enc\.\d+x\d+_conv\.weight", name))
        size, (width, channels) = int(first.split(".")[2].split("x")[0]), state[first].shape[:2]
        sides = sorted({int(name.split(".")[2].split("x")[0]) for name in state if ".enc." in name}, reverse=True)
        starts = [f"model.enc.{side}x{side}_block" for side in sides]
        augment = state.get("model.map_augment.weight")
        return {
            "channels": channels,
            "size": size,
            "width": width,
            "multiples": [state[f"{start}0.conv1.weight"].shape[0] // width for start in starts],
            "blocks": sum(bool(re.fullmatch(rf"{re.escape(starts[0])}\d+\.conv1\.weight", name)) for name in state),
            "attended": [f"{start}0.qkv.weight" in state for start in starts],
            "augmented": 0 if augment is None else augment.shape[1],
        }
    except (LookupError, ValueError, ZeroDivisionError) as error:
        raise PurebenchError(
            f"EDM: expected the keys of a whole DDPM++ network, but {error} does not fit; fetch the file again."
        ) from error
