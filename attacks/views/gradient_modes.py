"""Gradient modes: the views that a board names, which differ in the gradient of the purifier.

BPDA: Athalye et al. 2018, arXiv:1802.00420.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from purebench.attacks.views.view import View
from purebench.core.defense import Defense
from purebench.core.errors import Inapplicable


def exact(defense: Defense, *, eot: int = 1) -> View:
    """Use the gradient of the whole defense, purifier included.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.

    Raises:
        Inapplicable: If the purifier declares that it has no gradient.
    """
    if defense.purifier is not None and not defense.purifier.differentiable:
        raise Inapplicable("its purifier declares that no gradient comes through; bpda takes the surrogate's")
    return View(defense, defense.purify, defense.random, True, eot)


def bpda(defense: Defense, *, eot: int = 1) -> View:
    """Use the true purifier in the forward pass and its surrogate in the backward pass (BPDA).

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
    """
    surrogate = None if defense.purifier is None else defense.purifier.surrogate
    return View(defense, straight_through(defense, surrogate), defense.random, True, eot)


def straight_through(defense: Defense, surrogate: Callable[[Tensor], Any] | None) -> Callable[[Tensor], Tensor]:
    """Return a function that applies the true purifier forward and `surrogate` backward.

    Args:
        defense: The defense with the purifier.
        surrogate: Differentiable stand-in for the purifier; None if there is no purifier, which gives the identity.

    Returns:
        A function of images [N,C,H,W].
    """
    if surrogate is None:
        return lambda x: x

    def purify(x: Tensor) -> Tensor:
        with torch.no_grad():
            purified = defense.purify(x)
        stand_in = surrogate(x)
        if stand_in.ndim == purified.ndim == 4 and stand_in.shape[2:] != purified.shape[2:]:  # the purifier resizes
            stand_in = functional.interpolate(stand_in, purified.shape[2:], mode="bilinear")
        stand_in = stand_in if stand_in.ndim == purified.ndim else stand_in[:, None]  # one image for several votes
        # the stand-in cancels exactly, so that the value is bitwise equal to the purifier's
        through: Tensor = purified + (stand_in - stand_in.detach())
        return through

    return purify


def blind(defense: Defense, *, eot: int = 1) -> View:
    """Use the classifier alone, for an attacker who does not know of the purifier.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
    """
    return View(defense, lambda x: x, defense.classifier_random, defense.purifier is None, eot)


def no_gradient(defense: Defense, *, eot: int = 1) -> View:
    """Use the defense's scores only, for attacks that need no gradient.

    Args:
        defense: The defense to attack.
        eot: Draws that are averaged.
    """

    def purify(x: Tensor) -> Tensor:
        return defense.purify(x.detach())

    return View(defense, purify, defense.random, True, eot)


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
