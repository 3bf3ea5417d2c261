"""Votes over several draws of a random defense: one answer combines k passes with fresh randomness.

The purifier returns the images of all votes, [N,k,C,H,W], and the classifier evaluates them together. An attack
therefore differentiates every vote like a single draw: exactly, or with the purifier's own surrogate. EOT and
verification count a vote as one draw, because a vote over finitely many draws is still random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.answers import check_logits
from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.parameters import MOST, checked
from purebench.core.registry import Spec

HOW = ("majority", "probabilities", "logits")
Draws = Annotated[int, Field(ge=2, le=MOST)]


class Votes(Purifier):
    """Several passes of a purifier over each image, [N,C,H,W] → [N,draws,C,H,W].

    Args:
        purifier: the purifier, or None for copies of the image.
        draws: number of passes.
    """

    def __init__(self, purifier: Purifier | None, draws: int):
        super().__init__()
        self.purifier, self.draws = purifier, draws
        self.random = purifier is not None and purifier.random
        self.differentiable = purifier is None or purifier.differentiable

    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images, each with fresh randomness."""
        return self._each(x, self.purifier)

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the surrogate of the purifier, once for each draw."""
        return self._each(x, None if self.purifier is None else self.purifier.surrogate)

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> Purifier:
        """Return as many passes of the shortened purifier."""
        if self.purifier is None:
            return super().shortened(steps, rounds)
        return Votes(self.purifier.shortened(steps, rounds), self.draws)

    def noised(self, x: Tensor) -> Tensor:
        """Return the noised images of all votes, [N,draws,C,H,W]."""
        return self._each(x, super().noised if self.purifier is None else self.purifier.noised)

    def _each(self, x: Tensor, purify: Callable[[Tensor], Tensor] | None) -> Tensor:
        many = x.repeat_interleave(self.draws, 0)
        many = many if purify is None else purify(many)
        return many.view(len(x), self.draws, *many.shape[1:])


class Voter(nn.Module):
    """Classifier that combines the images of all votes, [N,k,C,H,W] → logits [N,K].

    Images [N,C,H,W] are passed to the classifier unchanged.

    Args:
        classifier: the classifier of single images.
        how: `logits`, the mean of the logits; `probabilities`, the logarithm of the mean probabilities; `majority`, the
            logarithm of each class's share of the votes, where the mean probabilities count as one more vote and thus
            break ties. A count of votes has no gradient, so the backward pass of `majority` is that of `probabilities`.
    """

    def __init__(self, classifier: nn.Module | Callable[[Tensor], Tensor], how: str):
        super().__init__()
        self.classifier, self.how = classifier, how

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,K]."""
        if x.ndim == 4:
            return check_logits(self.classifier(x), len(x))
        many = x.flatten(0, 1)
        each = check_logits(self.classifier(many), len(many)).view(*x.shape[:2], -1)
        return each.mean(1) if self.how == "logits" else self.counted(each)

    def counted(self, each: Tensor) -> Tensor:
        """Return logits [N,K] of the votes' logits [N,k,K], by `probabilities` or `majority`."""
        votes = each.shape[1]
        mean = each.log_softmax(2).logsumexp(1) - torch.tensor(float(votes)).log().to(each)
        if self.how == "probabilities":
            return mean
        counts = functional.one_hot(each.argmax(2), each.shape[2]).sum(1)
        share = (counts + mean.detach().exp()) / (votes + 1)
        # the mean cancels exactly in the forward pass, so the value is exactly the logarithm of the share
        return share.clamp_min(torch.finfo(share.dtype).tiny).log() + (mean - mean.detach())


@checked("vote")
def voted(defense: Defense, *, draws: Draws, how: str = "majority") -> Defense:
    """Return a defense whose answers are votes over several answers of another defense.

    Args:
        defense: the defense that votes; it must be random.
        draws: answers that are combined into one; the forward passes of all of them are counted.
        how: `majority`, `probabilities` or `logits`; see `Voter`.

    Raises:
        PurebenchError: If the defense is not random, draws is below two, or `how` is unknown.
    """
    if how not in HOW:
        raise PurebenchError(f"vote: how: {how!r} is unknown; {did_you_mean(str(how), HOW)}")
    if not defense.random:
        raise PurebenchError(
            "vote: expected a random defense, but got a deterministic one, whose votes are all equal; use it without "
            "vote."
        )
    made = Defense(Voter(defense.classifier, how), Votes(defense.purifier, draws), random=defense.classifier_random)
    made.passes = draws * defense.passes
    return made


@listed(
    random=True,
    gradient="varies",
    surrogate="varies",
    forwards="varies",
    passes="varies",
    ms="varies",
    licence="MIT",
    source="own",
)
def vote(
    *, defense: str | Mapping[str, Any], draws: Draws = 8, how: str = "majority", classifier: nn.Module
) -> Defense:
    """Vote over several draws of another defense: `vote(defense='diffpure(t=100)', draws=8)`.

    Args:
        defense: the defense as it is written on a board.
        draws: answers that are combined into one.
        how: `majority`, `probabilities` (their mean) or `logits` (their mean).
        classifier: the board's classifier.

    Returns:
        The voting defense.

    Raises:
        PurebenchError: If the defense cannot be created, or is not random.
    """
    made = registry.create("defenses", Spec.parse(defense), classifier=classifier)
    return voted(as_defense(made, classifier), draws=draws, how=how)
