"""The layouts of noise-prediction networks: how each is recognised, unwrapped, and built from its checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core.errors import PurebenchError
from purebench.defenses.checkpoints import brief, check_keys, in_float32
from purebench.defenses.diffusion.architectures.checkpoint_layouts import (
    averaged,
    check_family,
    ddpmpp_architecture,
    edm_architecture,
    guided_architecture,
    is_ddpmpp,
    is_edm,
    is_guided,
)
from purebench.defenses.diffusion.architectures.ddpmpp import DDPMpp
from purebench.defenses.diffusion.architectures.edm import EDM
from purebench.defenses.diffusion.architectures.folded_unet import FoldedUNet
from purebench.defenses.diffusion.architectures.guided_unet import GuidedUNet
from purebench.defenses.diffusion.architectures.ho_unet import HoUNet, ho_architecture, is_ho_unet, renamed
from purebench.defenses.diffusion.architectures.parametrisation import check_parametrisation
from purebench.defenses.unwrapping import Unwrapped, unwrap


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of a family of checkpoints.

    Attributes:
        family: name of the family, for messages.
        fits: whether the content of a file, unwrapped, has the layout.
        infer: the arguments of `build` that follow from the weights.
        build: builds the network.
        rename: the weights by the keys of the network.
    """

    family: str
    fits: Callable[[Mapping[str, Any]], bool]
    infer: Callable[[Mapping[str, Any]], dict[str, Any]]
    build: Callable[..., nn.Module]
    rename: Callable[[Mapping[str, Any]], dict[str, Any]] = dict


LAYOUTS = {
    "guided-unet": Layout(
        family="guided-diffusion (input_blocks…)", fits=is_guided, infer=guided_architecture, build=GuidedUNet
    ),
    "ddpm++": Layout(family="score_sde (all_modules…)", fits=is_ddpmpp, infer=ddpmpp_architecture, build=DDPMpp),
    "edm": Layout(family="EDM (model.enc…)", fits=is_edm, infer=edm_architecture, build=EDM),
    "ho-unet": Layout(family="DDPM (temb…)", fits=is_ho_unet, infer=ho_architecture, build=HoUNet, rename=renamed),
}
"""Layouts by kind, the name in the header of a converted file."""
BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "folded-unet": FoldedUNet,
    **{kind: layout.build for kind, layout in LAYOUTS.items()},
}
"""Functions that build a network from the architecture in the header of a .safetensors file, by kind."""


def weights_of(content: Mapping[str, Any]) -> Unwrapped:
    """Return the weights of a checkpoint; of score_sde's training states, the moving average."""
    if not is_ddpmpp(content):
        return unwrap(content)
    check_family(content)
    has_average = isinstance(content.get("ema"), Mapping) and "shadow_params" in content["ema"]
    notes = ("took the moving average 'ema', not 'model'",) if has_average else ()
    plain = unwrap(averaged(content))
    return Unwrapped(plain.state, (*notes, *plain.notes))


def layout_of(state: Mapping[str, Any]) -> str | None:
    """Return the kind of the layout of unwrapped weights, or None if there is none."""
    return next((kind for kind, layout in LAYOUTS.items() if layout.fits(state)), None)


def build(path: Path, content: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[str, nn.Module, Unwrapped]:
    """Build a network from the content of its checkpoint, and load the weights strictly.

    Args:
        path: the file, for error messages only.
        content: its content.
        options: arguments of the network that cannot be inferred, and `parametrisation` where it must be stated.

    Returns:
        The kind of the layout, the network, whose `architecture` builds it again, and the unwrapped weights.

    Raises:
        PurebenchError: If the layout is unknown, its parametrisation is not stated although it must be, or keys,
            shapes or values do not fit.
    """
    given = {name: value for name, value in options.items() if name != "parametrisation"}
    try:
        unwrapped = weights_of(content)
        kind = layout_of(unwrapped.state)
        if kind is None:
            raise PurebenchError(
                f"expected the keys of {', '.join(layout.family for layout in LAYOUTS.values())}, but got "
                f"{', '.join(map(str, list(unwrapped.state)[:3]))}…; name such a checkpoint, or diffusers' folder."
            )
        for name, value in unwrapped.state.items():
            if not isinstance(value, Tensor):
                raise PurebenchError(
                    f"expected {name!r} to be a tensor, but got {type(value).__name__}; fetch the file again."
                )
        layout = LAYOUTS[kind]
        inferred = layout.infer(unwrapped.state)
        architecture = {**inferred, **given}
        check_parametrisation(path, content, kind, inferred, options)
        with torch.device("meta"):
            layout.build(**architecture)  # arguments that do not fit raise before memory is taken
        model = layout.build(**architecture)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise PurebenchError(
            f"{path}: expected an architecture that can be built, but got {dict(options)} ({brief(error)}); "
            f"name arguments of the network ({', '.join(one.build.__name__ for one in LAYOUTS.values())})."
        ) from error
    state = layout.rename(unwrapped.state)
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(in_float32(state))
    model.architecture = architecture  # type: ignore[assignment]
    return kind, model, unwrapped
