"""Freezes the randomness of a defense: every call uses the same random numbers, which an attacker may know.

This is the "deterministic white box" of Liu et al. 2025 (ADDT, arXiv:2404.14309), whose attacker knows the noise of the
purification. The difference between its accuracy and that under unknown noise is the part of the robustness that is due
to the randomness alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from purebench.core.defense.defense import Defense
from purebench.core.defense.purifier import Purifier
from purebench.core.errors import PurebenchError
from purebench.core.seeds import at_seed, seed_of


class Frozen(Defense):
    """A random defense with known randomness: every call starts from the same states of all random generators.

    Only torch's global generators are set: a defense with generators of its own is not frozen, and answers differently.
    The states that the caller had are restored after each call. A draw is determined by the seed *and by the layout of
    the batch*: the same image gets other noise at another position of a batch, and may get other noise in a batch of
    another size. Results are therefore comparable only for one fixed batch, that is for the same images in the same
    order. `size` fixes the layout: a call is divided into parts of `size` images, the last one filled up with copies of
    its last image, and each part starts from the seed, so that the noise of an image depends on its row alone.

    The purifier and the classifier are two calls for an attacker who differentiates them in turn. If both are random,
    the classifier therefore starts from a seed of its own, which `seed` determines.

    Attributes:
        inner: The random defense.
        seed: The seed.
        size: Number of images of each part of a call; None to pass the images of a call together.
    """

    def __init__(self, defense: Defense, seed: int = 0, *, size: int | None = None):
        later = defense.purifier is not None and defense.purifier.random
        start = seed_of("classifier", str(seed)) if later else seed
        classifier: nn.Module | Callable[[Tensor], Tensor] = defense.classifier
        if defense.classifier_random:
            classifier = _FrozenClassifier(classifier, start, size)
        purifier = None if defense.purifier is None else _FrozenPurifier(defense.purifier, seed, size)
        super().__init__(classifier, purifier)
        self.inner, self.seed, self.size = defense, seed, size
        self.passes, self.shares_draws = defense.passes, False

    def purify(self, x: Tensor) -> Tensor:
        """Return the input of the classifier, as the inner defense computes it under the seed."""
        return x if self.purifier is None else _at_seed(self.inner.purify, x, self.seed, self.size)


class _FrozenPurifier(Purifier):
    """A purifier whose calls all start from one seed."""

    random = False

    def __init__(self, inner: Purifier, seed: int, size: int | None):
        super().__init__()
        self.inner, self.seed, self.size = inner, seed, size
        self.differentiable, self.resizes = inner.differentiable, inner.resizes

    def forward(self, x: Tensor) -> Tensor:
        return _at_seed(self.inner, x, self.seed, self.size)

    def surrogate(self, x: Tensor) -> Tensor:
        return _at_seed(self.inner.surrogate, x, self.seed, self.size)


class _FrozenClassifier(nn.Module):
    """A random classifier whose calls all start from one seed."""

    def __init__(self, inner: nn.Module | Callable[[Tensor], Tensor], seed: int, size: int | None):
        super().__init__()
        self.inner, self.seed, self.size = inner, seed, size

    def forward(self, x: Tensor) -> Tensor:
        return _at_seed(self.inner, x, self.seed, self.size)


def _at_seed(work: Callable[[Tensor], Tensor], x: Tensor, seed: int, size: int | None) -> Tensor:
    """Return work(x), in parts of `size` images that each start from the seed; differentiable."""
    parts = (x,) if size is None else torch.split(x, size)
    found = []
    for part in parts:
        missing = 0 if size is None else size - len(part)
        whole = torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing and len(part) else part
        with at_seed(seed):
            found.append(work(whole)[: len(part)])
    return found[0] if len(found) == 1 else torch.cat(found)


def frozen(defense: Defense, seed: int = 0, *, size: int | None = None) -> Frozen:
    """Return a deterministic defense that always makes the same draw of a random one, which an attacker may know.

    Results of different seeds or batches are different draws: attack and evaluate the *same images in the same order*,
    or set `size` (see `Frozen`). The modules are shared with the given defense.

    Args:
        defense: A random defense.
        seed: Seed of every call, from 0 to 2^63 - 1.
        size: Number of images of each part of a call, which makes the noise of an image depend on its row alone; None
            to pass the images of a call together.

    Returns:
        The defense with `random` False. Calls leave the states of all random generators unchanged.

    Raises:
        PurebenchError: If the defense is not a random `Defense`, or seed or size is out of its range.
    """
    if not isinstance(defense, Defense) or not defense.random:
        what = "a deterministic one" if isinstance(defense, Defense) else type(defense).__name__
        raise PurebenchError(
            f"frozen: expected a random Defense, but got {what}; wrap a random model as Defense(model, random=True)."
        )
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise PurebenchError(f"frozen: expected seed as a whole number from 0 to 2^63 - 1, but got {seed!r}.")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise PurebenchError(f"frozen: expected size as a whole number of at least 1, but got {size!r}.")
    return Frozen(defense, seed, size=size).eval()
