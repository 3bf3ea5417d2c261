"""Checks what a network predicts, where the keys of its checkpoint leave it open.

Networks of equal keys may predict something else, or may have been trained under another noise schedule. Then their
outputs are wrong, but nothing else is, so the parametrisation has to follow from the file, or the user has to state it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.defenses.diffusion.architectures.checkpoint_layouts import is_published
from purebench.defenses.persistent_pickles import Network

LINEAR, EDM = "linear", "edm"
EDM_CLASS = "EDMPrecond"
"""The class of EDM's code with this preconditioning. Its other classes, such as VPPrecond, hold equal networks."""

MEANINGS = {
    LINEAR: "the noise under DDPM's linear schedule of 1,000 steps",
    EDM: f"what {EDM_CLASS} does, with sigma_data 0.5",
}
"""Meanings of the parametrisations that can be stated."""


def check_parametrisation(
    path: Path, content: Mapping[str, Any], kind: str, inferred: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Check that a network is known to predict what the purifiers assume.

    Args:
        path: the checkpoint; the name of a sub-VP network is recognised for the message.
        content: its content, as it was read.
        kind: kind of its layout.
        inferred: the architecture that follows from its keys.
        options: what the user states: arguments of the network, and `parametrisation`.

    Raises:
        PurebenchError: If another parametrisation is stated, or none although it is open.
    """
    expected = EDM if kind == "edm" else LINEAR
    stated = options.get("parametrisation")
    if stated not in (None, expected):
        raise PurebenchError(
            f"parametrisation: expected {expected} ({MEANINGS[expected]}) for a network of the layout {kind}, but got "
            f"{stated!r}; state {expected} if that is what it predicts, else name another checkpoint."
        )
    if kind == "edm":
        _check_edm(content, inferred, stated)
    elif kind == "ddpm++" and stated is None:
        _refuse_unstated(path)
    elif kind == "guided-unet" and not is_published(inferred):
        _check_guided(options)


def names_sub_vp(path: Path) -> bool:
    """Return whether a file, or one of the two folders that it is in, is called sub-VP, as in score_sde's tree.

    Links are followed, so that a link under another name is recognised.

    >>> names_sub_vp(Path("subvp/cifar10_ddpmpp_deep_continuous/checkpoint_26.pth"))
    True
    """
    return any(re.search("sub[-_ ]?vp", part, re.IGNORECASE) for part in path.resolve().parts[-3:])


def _check_edm(content: Mapping[str, Any], inferred: Mapping[str, Any], stated: str | None) -> None:
    """Raise PurebenchError unless an EDM layout is EDM's by its class, by its keys, or by the user's statement."""
    networks = [value for value in content.values() if isinstance(value, Network)]
    for network in networks:
        if network.class_name != EDM_CLASS:
            raise PurebenchError(
                f"EDM: expected a network of the class {EDM_CLASS}, but got {network.class_name or 'none'}, another "
                "parametrisation of the same network; name edm-cifar10-32x32-uncond-vp.pkl."
            )
    if not networks and not inferred["augmented"] and stated is None:
        raise PurebenchError(
            "EDM: expected augmentation labels (model.map_augment), which EDM's own networks have, but got a network "
            "without them, whose keys do not reveal its parametrisation (NVIDIA's VPPrecond has just these keys); "
            f"state the parametrisation {EDM} if its class is {EDM_CLASS}, as in {statement(parametrisation=EDM)}."
        )


def _refuse_unstated(path: Path) -> None:
    """Raise PurebenchError for a network of score_sde whose parametrisation is not stated."""
    found = f"{path.name} is called sub-VP" if names_sub_vp(path) else "the keys do not reveal which this one is"
    raise PurebenchError(
        "score_sde: expected a VP network, but got one that may also be sub-VP, which has equal keys and another noise "
        f"schedule; {found}. State the parametrisation {LINEAR} if it was trained with the VP SDE, as in "
        f"{statement(parametrisation=LINEAR)}; no purifier here supports sub-VP."
    )


def statement(**architecture: object) -> str:
    """Return how a user states arguments of a network, in a spec and for the command `convert`.

    >>> statement(parametrisation="linear")
    "architecture={'parametrisation': 'linear'} (purebench convert --architecture 'parametrisation=linear')"
    """
    option = ", ".join(f"{name}={value}" for name, value in architecture.items())
    return f"architecture={architecture} (purebench convert --architecture '{option}')"


def _check_guided(options: Mapping[str, Any]) -> None:
    """Raise PurebenchError unless everything is stated that the keys of a network of guided-diffusion leave open."""
    wanted = {
        "parametrisation": f"parametrisation: {LINEAR} if it predicts the noise under DDPM's linear schedule",
        "heads": "head_width, the channels of an attention head (or heads, their number)",
        "split_first": "split_first, whether it was made with use_new_attention_order",
    }
    given = {"heads" if name == "head_width" else name for name in options}
    if missing := [told for name, told in wanted.items() if name not in given]:
        raise PurebenchError(
            "guided-diffusion: expected the published network 256x256_diffusion_uncond.pt, but got another one, whose "
            "keys reveal neither its attention heads nor what it predicts (EDM's, consistency models' and "
            f"improved-diffusion's networks have such keys too); state {'; '.join(missing)}, as in "
            f"{statement(parametrisation=LINEAR, head_width=64, split_first=False)}."
        )
