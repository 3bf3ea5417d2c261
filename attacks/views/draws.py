"""Draws of a random view one by one, with the gradient of each at its purified image, and a pull-back to the image.

The first pass over the draws builds no graph of the purifier. `Draws.pull_back` replays the draws that it is asked for,
with the same random numbers, and differentiates these passes only (gradient grafting of DiffHammer, Wang et al. 2024).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from purebench.attacks.views.replay import GeneratorStates, Replay
from purebench.attacks.views.view_module import NO_GRADIENT, passes_gradient
from purebench.core.answers import check_logits
from purebench.core.errors import Inapplicable, PurebenchError

if TYPE_CHECKING:
    from purebench.attacks.views.look import Loss
    from purebench.attacks.views.view import View

ROUNDING = {"float32": 1e-4, "tf32": 1e-2, "bf16": 1e-2}
"""Largest difference of a purified value, in [0,1], between a pass and the replay of some of its rows. A replay of all
rows has the same sums, but perhaps other kernels because gradients are computed; it may differ by ten times as much."""
OTHER_DRAW = (
    "a pass with the same random numbers gave another purified image; the purifier must draw from torch's generators "
    "alone, and must not depend on earlier passes"
)


@dataclass(frozen=True)
class Part:
    """Images that passed through the purifier at once.

    Attributes:
        images: The images, one row for each draw, [T,C,H,W].
        purified: Their purified images, [T,…].
        states: States of the generators before the pass.
    """

    images: Tensor
    purified: Tensor
    states: GeneratorStates


@dataclass(frozen=True)
class Draws:
    """D draws at each of N images.

    A draw counts as one forward of the view, and each image that `pull_back` replays as one forward and one backward.
    The gradient of the classifier alone is not counted, because costs are in passes of the purifier. In a view without
    a purifier that gradient is the backward of the draw, and `pull_back` costs nothing.

    Attributes:
        view: The view.
        purified: Purified images, [N,D,…]; [N,D,votes,…] for a defense that votes.
        loss: Loss of each draw, [N,D].
        logits: Logits of each draw, [N,D,K].
        cotangent: Gradient of each draw's loss at its purified image, of the shape of `purified`; zero where it is not
            finite.
        broken: Whether all draws of an image are wrong, bool [N].
        parts: The passes that the draws come from, in their order.
        rows: Row of each draw in the rows of all parts, one part after the other, [N,D].
    """

    view: View
    purified: Tensor
    loss: Tensor
    logits: Tensor
    cotangent: Tensor
    broken: Tensor
    parts: list[Part]
    rows: Tensor

    def pull_back(self, cotangents: Tensor, picks: Tensor) -> Tensor:
        """Compute the gradient at the images of <cotangent, purified image>, each through the same draw again.

        Only the picked draws are replayed, as rows of the pass that they come from. If the replay gives another
        purified image than the first pass, the whole part is replayed. The states of torch's global generators do not
        change.

        Args:
            cotangents: Cotangents at the purified images, [N,…], or [N,k,…] for several draws of an image.
            picks: Number of the draw in 0..D-1 of each cotangent, [N] or [N,k]; the draws of an image are distinct.

        Returns:
            Gradients [N,C,H,W] or [N,k,C,H,W].

        Raises:
            Inapplicable: If the purifier does not repeat its answer with the same random numbers.
            PurebenchError: If no gradient reaches the image at all.
        """
        rows = self.rows.gather(1, picks.view(len(picks), -1)).flatten()
        given = cotangents.reshape(len(rows), *self.purified.shape[2:])
        gradient = given.new_empty(len(rows), *self.parts[0].images.shape[1:])
        start = 0
        for part in self.parts:
            own = ((rows >= start) & (rows < start + len(part.images))).nonzero().squeeze(1)
            if len(own):
                (gradient[own],) = self.view.batch.map(
                    lambda index, given, part=part: (_replayed(self.view, part, index, given),),
                    rows[own] - start,
                    given[own],
                )
            start += len(part.images)
        return self.view.checked(gradient.view(*picks.shape, *gradient.shape[1:]), lambda: self.broken, again=True)


def draws_at(view: View, x: Tensor, y: Tensor, loss: Loss, draws: int) -> Draws:
    """Return draws of a view at images; see `View.draws_at`."""
    parts: list[Part] = []

    def part(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        states = GeneratorStates.now(images.device)
        with torch.no_grad(), view.coarse(images):
            purified = view.purify(images)
        leaf = purified.detach().requires_grad_()
        with torch.enable_grad():
            with view.coarse(images):
                logits = view.defense.classifier(leaf)
            logits = check_logits(logits, len(images)).to(images.dtype)
            values = loss(logits, labels)
            (cotangent,) = torch.autograd.grad(passes_gradient(values).sum(), leaf)
        view.forwards += len(images)
        view.backwards += len(images) if purified is images else 0
        kept = images if purified is images else purified.detach()
        parts.append(Part(images, kept, states))
        return kept, values.detach(), logits.detach(), cotangent.to(images.dtype)

    found = view.drawn(part, draws, x, y)
    rows = torch.arange(len(x) * draws, device=x.device)
    if draws > 1 and view.defense.shares_draws:  # each draw is a call of its own
        rows = rows.view(draws, len(x)).T
    purified, values, logits, cotangent = (each.view(len(x), draws, *each.shape[1:]) for each in found)
    broken = (logits.argmax(2) != (y if y.ndim == 1 else y[:, 0])[:, None]).all(1)
    cotangent = view.checked(cotangent, lambda: broken)
    return Draws(view, purified, values, logits, cotangent, broken, parts, rows.reshape(len(x), draws))


def _replayed(view: View, part: Part, index: Tensor, cotangents: Tensor) -> Tensor:
    """Return the gradients [R,C,H,W] of cotangents [R,…] through the draws in some rows [R] of a part."""
    if part.purified is part.images:
        return cotangents
    total = len(part.images)
    others = torch.ones(total, dtype=torch.bool, device=index.device).index_fill(0, index, False).nonzero().squeeze(1)
    # a number of random values that happens to equal the number of rows is mistaken for them: one more row tells
    for rows in (index, torch.cat([index, others[:1]])):
        if len(rows) < total:
            padded = torch.cat([cotangents, torch.zeros_like(cotangents[: len(rows) - len(index)])])
            gradient = _pulled(view, part, rows, padded, ROUNDING[view.precision])
            if gradient is not None:
                return gradient[: len(index)]
    everything = torch.zeros(total, *cotangents.shape[1:], device=cotangents.device, dtype=cotangents.dtype)
    everything[index] = cotangents
    all_rows = torch.arange(total, device=index.device)
    gradient = _pulled(view, part, all_rows, everything, 10 * ROUNDING[view.precision])
    if gradient is None:
        raise Inapplicable(OTHER_DRAW)
    return gradient[index]


def _pulled(view: View, part: Part, index: Tensor, cotangents: Tensor, most: float) -> Tensor | None:
    """Return the gradients of cotangents through replayed rows of a part.

    Args:
        view: The view.
        part: The part.
        index: The rows, [R], each once.
        cotangents: Cotangents at their purified images, [R,…].
        most: Largest difference of a purified value from the first pass.

    Returns:
        The gradients [R,C,H,W]; None if the purified images are not those of the first pass.
    """
    expected, total = part.purified[index], len(part.images)
    leaf = part.images[index].detach().requires_grad_()
    copies = expected.shape[1] if expected.ndim > leaf.ndim else 1
    replay = nullcontext() if len(index) == total else Replay(index, total, copies)
    with part.states.again(), replay, torch.enable_grad():
        with view.coarse(leaf):
            purified = view.purify(leaf)
        view.forwards += len(leaf)
        if purified.shape != expected.shape or not bool(((purified - expected).abs() <= most).all()):
            return None
        view.backwards += len(leaf)
        (gradient,) = torch.autograd.grad(
            passes_gradient(purified), leaf, cotangents.to(purified.dtype), allow_unused=True
        )
    if gradient is None:
        raise PurebenchError(NO_GRADIENT)
    return gradient.to(cotangents.dtype)
