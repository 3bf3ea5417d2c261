"""Wraps a view as the model that a library attacks, and collects warnings: masked gradients, and the library's own log.

A library does not report a gradient of zero: the point does not move, and the defense looks robust. Here such images
are counted, as those of native attacks are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from purebench.attacks.gradient.losses import others
from purebench.attacks.views.view import View
from purebench.core.warning_codes import WarningCode

FLAT = "gradients may be masked; images whose gradient was always zero"
NOT_FINITE = "gradients may be masked; images with a gradient that was not finite"


class Lost(Exception):
    """An attack queries an image that is not finite."""


class Asked(nn.Module):
    """A view as the module that a library attacks; counts the images whose gradient is zero or not finite.

    A zero counts only while the answer is right (losses that stop at the boundary are flat beyond it), and only if no
    nonzero gradient of that image was seen.

    Attributes:
        view: The view that is attacked.
        x: The images that are attacked, [N,C,H,W].
        y: Their labels, [N].
        module: The view as a module.
        zero: Images with a gradient of zero, bool [N].
        moved: Images with a finite gradient other than zero, bool [N].
        bad: Images with a gradient that is not finite, bool [N].
    """

    def __init__(self, view: View, x: Tensor, y: Tensor):
        super().__init__()
        self.view, self.x, self.y, self.module = view, x, y, view.as_module()
        self.nothing = nn.Parameter(x.new_zeros(0), requires_grad=False)  # libraries read the device from it
        self.zero, self.moved, self.bad = (torch.zeros_like(y, dtype=torch.bool) for _ in range(3))
        self.eval()

    def forward(self, points: Tensor) -> Tensor:
        """Return logits [M,K] of points [M,C,H,W].

        Raises:
            Lost: If a point is not finite.
        """
        if not bool(torch.isfinite(points).all()):
            raise Lost("expected finite images, but the attack queried one with NaN or infinity; check its parameters")
        watch = torch.is_grad_enabled() and points.requires_grad
        seen = points.view_as(points) if watch else points
        logits: Tensor = self.module(seen)
        if watch:
            seen.register_hook(partial(self._look, points.detach(), logits.detach()))  # type: ignore[no-untyped-call]
        return logits

    def _look(self, points: Tensor, logits: Tensor, gradient: Tensor) -> None:
        """Record a gradient [M,C,H,W] at the points, where the answers were `logits`."""
        flat, owner = gradient.flatten(1), self._owners(points)
        finite, moved = flat.isfinite().all(1), flat.any(1)
        right = logits.argmax(1) == self.y[owner]
        for found, which in ((self.zero, right & ~moved), (self.moved, moved & finite), (self.bad, ~finite)):
            found[owner[which]] = True

    def _owners(self, points: Tensor) -> Tensor:
        """Return which images the points [M,C,H,W] belong to: the places of the nearest images, [M]."""
        if len(points) == len(self.x):
            return torch.arange(len(points), device=points.device)
        return torch.cdist(points.flatten(1).to(self.x), self.x.flatten(1)).argmin(1)

    def tell(self) -> None:
        """Add the counts to the view's warnings."""
        zero, bad, count = int((self.zero & ~self.moved).sum()), int(self.bad.sum()), len(self.x)
        if zero:
            self.view.warn(WarningCode.ZERO_GRADIENT, FLAT, zero, count)
        if bad:
            self.view.warn(WarningCode.NON_FINITE_GRADIENT, NOT_FINITE, bad, count)


@contextmanager
def overheard(view: View, logger: str, library: str) -> Iterator[None]:
    """Turn the warnings of a library's logger into warnings of the view, and show them nowhere else.

    Numbers are removed from them, so that a warning is reported once and not once for each value.

    Args:
        view: The view that gets the warnings.
        logger: Name of the library's logger.
        library: Name of the library, as a prefix.
    """

    class Warnings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told = record.getMessage().partition("!")[0].strip()
            view.warn(WarningCode.LIBRARY, f"{library}: {re.sub(r'[0-9]+([.][0-9]+)?', 'some', told)}")

    source, handler = logging.getLogger(logger), Warnings(logging.WARNING)
    before = source.propagate
    source.addHandler(handler)
    source.propagate = False
    try:
        yield
    finally:
        source.removeHandler(handler)
        source.propagate = before


def runner_up(view: View, x: Tensor, y: Tensor) -> Tensor:
    """Return the most likely class except the true one, according to the view, [N]."""
    return others(view.scores(x).mean(1), y).argmax(1)
