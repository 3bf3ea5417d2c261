"""Confirms the images of libraries' minimum-norm attacks with queries of our own."""

from __future__ import annotations

import torch
from torch import Tensor

from purebench.attacks.best import rows
from purebench.attacks.views.view import View
from purebench.core.answers import Answer

FRESH = 16
"""Fresh draws that show whether a point fools a random defense more often than the image itself."""
OUTWARDS = (0.0, 1e-3, 1e-2)
"""Shares of its distance by which a point is moved outwards until it is adversarial."""


def nearest_found(view: View, x: Tensor, y: Tensor, answer: Answer) -> Answer:
    """Confirm the images of a minimum-norm attack.

    A point just short of the boundary is moved outwards by shares of its distance. A random view is fooled if it is
    wrong more often than on the image itself, on fresh draws.

    Args:
        view: The defense as the attack sees it.
        x: Images [N,C,H,W] in [0,1].
        y: Labels [N].
        answer: The attack's images and claims.

    Returns:
        The answer with the confirmed images, and the image itself where none was confirmed; the claims are unchanged.
    """

    def wrong(images: Tensor) -> Tensor:
        return (view.scores(images, FRESH).argmax(2) != y[:, None]).sum(1)

    least = wrong(x) if view.random else torch.zeros_like(y)
    found, fooled = x, torch.zeros_like(y, dtype=torch.bool)
    for share in OUTWARDS:
        points = torch.where(rows(fooled, x), found, (x + (1 + share) * (answer.images - x)).clamp(0, 1))
        fooled = fooled | (wrong(points) > least)
        found = torch.where(rows(fooled, x), points, x)
        if bool(fooled.all()):
            break
    return Answer(found, nearest=True, claims=answer.claims)
