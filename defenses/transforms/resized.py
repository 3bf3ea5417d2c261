"""A purifier at another size than the classifier's, as diffusion models of 256 pixels before classifiers of 224.

The images are resized, purified and resized back. Both resizings are part of the defense and are differentiated with
it (Nie et al. 2022, arXiv:2205.07460, and later work on ImageNet).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from purebench.core import registry
from purebench.core.defense import Purifier, State
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.defenses.parameters import require


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return images [N,C,H,W] at another size, bilinearly and without antialiasing, as the authors of DiffPure do."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


class Resized(Purifier):
    """A purifier that works at `size` pixels a side; its images come back at the size of the input.

    Args:
        purifier: the purifier.
        size: pixels a side inside the purifier.

    Raises:
        PurebenchError: If the size is not a whole number from 1.
    """

    def __init__(self, purifier: Purifier, *, size: int = 256):
        super().__init__()
        require("resized", isinstance(size, int) and size >= 1, "a whole size from 1", size=size)
        self.purifier, self.size = purifier, size
        self.random, self.differentiable = purifier.random, purifier.differentiable

    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images, at the size of the input."""
        return resize(self.purifier(self.enlarged(x)), x.shape[-2:])

    def surrogate(self, x: Tensor) -> Tensor:
        """Return the surrogate of the purifier between the two resizings."""
        return resize(self.purifier.surrogate(self.enlarged(x)), x.shape[-2:])

    def trace(self, x: Tensor) -> Sequence[State]:
        """Return the states of the purifier, at its own size; their images have the size of the input."""

        def shown(state: Tensor, to_image: Any) -> Tensor:
            return resize(to_image(state), x.shape[-2:])

        states = self.purifier.trace(self.enlarged(x))
        return [replace(state, to_image=partial(shown, to_image=state.to_image)) for state in states]

    def noised(self, x: Tensor) -> Tensor:
        """Return the noised images, at the size of the input."""
        return resize(self.purifier.noised(self.enlarged(x)), x.shape[-2:])

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> Resized:
        """Return the shortened purifier at the same size."""
        return Resized(self.purifier.shortened(steps, rounds), size=self.size)

    def enlarged(self, x: Tensor) -> Tensor:
        """Return the input of the purifier."""
        return resize(x, (self.size, self.size))


@listed(
    random="varies",
    gradient="varies",
    surrogate="resized",
    forwards="varies",
    ms="varies",
    licence="MIT",
    source="after Nie et al. 2022, arXiv:2205.07460",
)
def resized(*, purifier: str | Mapping[str, Any], size: int = 256, classifier: nn.Module | None = None) -> Resized:
    """Purify at another size and resize back: `resized(purifier=diffpure, size=256)`.

    Args:
        purifier: a registered purifier as it is written on a board.
        size: pixels a side inside the purifier.
        classifier: the board's classifier, for a purifier that asks for it.

    Raises:
        PurebenchError: If the purifier cannot be created, or is a whole defense.
    """
    spec = Spec.parse(purifier)
    made = registry.create("defenses", spec, classifier=classifier)
    if not isinstance(made, Purifier):
        raise PurebenchError(
            f"resized: expected a purifier, but {spec.name} is a whole defense; write resized inside of it."
        )
    return Resized(made, size=size)
