"""The gradient mode that applies to every defense: the exact gradient, or BPDA where the purifier has no gradient."""

from __future__ import annotations

from purebench.attacks.views.gradient_modes import bpda, exact
from purebench.attacks.views.view import View
from purebench.core.defense import Defense
from purebench.core.errors import Inapplicable


def exact_or_bpda(defense: Defense, *, eot: int = 1) -> View:
    """Use the exact gradient, or BPDA if the purifier declares that it has no gradient.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
    """
    try:
        return exact(defense, eot=eot)
    except Inapplicable:
        return bpda(defense, eot=eot)
