"""Several draws of a random defense decide together: one answer is the vote of k passes with fresh randomness.

The purifier gives the images of all votes, [N,k,C,H,W], and the classifier answers for them together, so a view
differentiates every vote as it would a single draw: exactly, or with the purifier's own surrogate. EOT and verification
count votes as draws of their own, because a vote over finitely many draws is still random.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.errors import PurebenchError, nearest
from purebench.core.protocols import check_logits
from purebench.core.registry import Spec

HOW = ("majority", "probabilities", "logits")


class Votes(Purifier):
    """`draws` passes of another purifier over each image, [N,C,H,W] → [N,draws,C,H,W]; None for copies of the image."""

    def __init__(self, purifier: Purifier | None, draws: int):
        super().__init__()
        self.purifier, self.draws = purifier, draws
        self.random = purifier is not None and purifier.random
        self.differentiable = purifier is None or purifier.differentiable

    def forward(self, x: Tensor) -> Tensor:
        """What the purifier gives, each time with fresh randomness."""
        return self._each(x, self.purifier)

    def surrogate(self, x: Tensor) -> Tensor:
        """The purifier's surrogate, as often."""
        return self._each(x, None if self.purifier is None else self.purifier.surrogate)

    def _each(self, x: Tensor, purify: Callable[[Tensor], Tensor] | None) -> Tensor:
        many = x.repeat_interleave(self.draws, 0)
        many = many if purify is None else purify(many)
        return many.view(len(x), self.draws, *many.shape[1:])


class Voter(nn.Module):
    """Another classifier asked about the images of all votes, [N,k,C,H,W] → logits [N,K]; [N,C,H,W] as it answers.

    how: `logits`, their mean; `probabilities`, the logarithm of their mean; `majority`, the logarithm of each class's
    share of the votes, of which the mean probabilities are one more, so that they decide a tie. A count of votes has no
    gradient: backward, `majority` is `probabilities`.
    """

    def __init__(self, classifier: nn.Module | Callable[[Tensor], Tensor], how: str):
        super().__init__()
        self.classifier, self.how = classifier, how

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N,K]."""
        if x.ndim == 4:
            return check_logits(self.classifier(x), len(x))
        many = x.flatten(0, 1)
        each = check_logits(self.classifier(many), len(many)).view(*x.shape[:2], -1)
        return each.mean(1) if self.how == "logits" else self.counted(each)

    def counted(self, each: Tensor) -> Tensor:
        """Logits [N,K] of votes [N,k,K] by their probabilities."""
        votes = each.shape[1]
        mean = each.log_softmax(2).logsumexp(1) - torch.tensor(float(votes)).log().to(each)
        if self.how == "probabilities":
            return mean
        counts = functional.one_hot(each.argmax(2), each.shape[2]).sum(1)
        share = (counts + mean.detach().exp()) / (votes + 1)
        # the mean cancels exactly, so that the value is the vote's to the last bit
        return share.clamp_min(torch.finfo(share.dtype).tiny).log() + (mean - mean.detach())


def voted(defense: Defense, *, draws: int, how: str = "majority") -> Defense:
    """A defense whose every answer is the vote of `draws` answers of another one, counted as so many passes.

    Raises PurebenchError for one that is not random, for fewer than two draws, or for another way of counting.
    """
    if how not in HOW:
        raise PurebenchError(f"vote: how: {how!r} is unknown; {nearest(str(how), HOW)}")
    require_draws("vote", draws, 2)
    if not defense.random:
        raise PurebenchError("vote: expected a random defense, but got a deterministic one, whose votes are all equal.")
    made = Defense(Voter(defense.classifier, how), Votes(defense.purifier, draws), random=defense.classifier_random)
    made.passes = draws * defense.passes
    return made


def require_draws(who: str, draws: int, least: int) -> None:
    """Raises PurebenchError unless draws is a whole number of at least `least`."""
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < least:
        raise PurebenchError(f"{who}: expected draws, a whole number of at least {least}, but got {draws!r}.")


def vote(*, defense: str | Mapping[str, Any], draws: int = 8, how: str = "majority", classifier: nn.Module) -> Defense:
    """The vote of several draws of another defense: `vote(defense='diffpure(t=100)', draws=8)`.

    defense: as one writes it on a board; how: `majority`, `probabilities` (their mean) or `logits` (their mean);
    classifier: the board's. Raises PurebenchError for what cannot be made, or has nothing to vote about.
    """
    made = registry.create("defenses", Spec.parse(defense), classifier=classifier)
    return voted(as_defense(made, classifier), draws=draws, how=how)
