"""Attacks by name, and the loss function and the view class that user-defined attacks are built on.

A name is imported on first access, so that listing the attacks does not import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from purebench.attacks.adaptive.deviated import Deviated
    from purebench.attacks.adaptive.diffhammer import DiffHammer
    from purebench.attacks.adaptive.known_randomness import KnownRandomness
    from purebench.attacks.adaptive.latent import Latent
    from purebench.attacks.adaptive.latent_skl import LatentSKL
    from purebench.attacks.adaptive.off_manifold import OffManifold
    from purebench.attacks.adaptive.reparametrised import Reparametrised
    from purebench.attacks.black_box.square import Square
    from purebench.attacks.black_box.transfer import Transfer
    from purebench.attacks.certify import Certify
    from purebench.attacks.entry import listed
    from purebench.attacks.gradient.apgd import APGD
    from purebench.attacks.gradient.losses import margin
    from purebench.attacks.gradient.md import MD
    from purebench.attacks.gradient.pgd import PGD, Clean
    from purebench.attacks.min_norm.cw import CW
    from purebench.attacks.min_norm.deepfool import DeepFool
    from purebench.attacks.min_norm.fmn import FMN
    from purebench.attacks.views.view import View

__all__ = [
    "APGD",
    "CW",
    "FMN",
    "MD",
    "PGD",
    "Certify",
    "Clean",
    "DeepFool",
    "Deviated",
    "DiffHammer",
    "KnownRandomness",
    "Latent",
    "LatentSKL",
    "OffManifold",
    "Reparametrised",
    "Square",
    "Transfer",
    "View",
    "listed",
    "margin",
]

_PLACES = {
    "adaptive.deviated": ("Deviated",),
    "adaptive.known_randomness": ("KnownRandomness",),
    "adaptive.diffhammer": ("DiffHammer",),
    "adaptive.latent": ("Latent",),
    "adaptive.latent_skl": ("LatentSKL",),
    "adaptive.off_manifold": ("OffManifold",),
    "adaptive.reparametrised": ("Reparametrised",),
    "black_box.square": ("Square",),
    "black_box.transfer": ("Transfer",),
    "certify": ("Certify",),
    "gradient.apgd": ("APGD",),
    "gradient.losses": ("margin",),
    "gradient.md": ("MD",),
    "gradient.pgd": ("PGD", "Clean"),
    "entry": ("listed",),
    "min_norm.cw": ("CW",),
    "min_norm.deepfool": ("DeepFool",),
    "min_norm.fmn": ("FMN",),
    "views.view": ("View",),
}
"""Modules, and the public names that are imported from them on first access."""


def __getattr__(name: str) -> Any:
    for module, names in _PLACES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"purebench.attacks.{module}"), name)
    raise AttributeError(f"module 'purebench.attacks' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
