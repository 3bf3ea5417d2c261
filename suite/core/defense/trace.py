"""Defines the intermediate states of a purification, which attacks may use besides its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from purebench.core.errors import Inapplicable


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of a purification of N images after one of its steps.

    Its image and its reference are computed when they are asked for, so that the others take no memory.

    Attributes:
        state: The state [N,C,H,W], in the units of the purifier, such as noisy images scaled to [-1,1].
        step: Number of steps of its round that follow; 0 for the last state of a round.
        round: Number of rounds that follow; 0 for the last round.
        to_image: Maps the state to images [N,C,H,W], the input of the classifier. Those of the last state are the
            purified images, in [0,1]. Those of noisy states are not clamped, because a clamp has no gradient outside.
        scale: Share of the image in the state, sqrt(alpha-bar) in [0,1]; 1 for a state without added noise.
        refer: Returns the purifier's input, diffused to the same level with the same noise as the forward process of
            this purification, [N,C,H,W] in the units of the state; None if the purifier has no forward process.
    """

    state: Tensor
    step: int
    round: int
    to_image: Callable[[Tensor], Tensor]
    scale: Tensor | float = 1.0
    refer: Callable[[], Tensor] | None = None

    @property
    def image(self) -> Tensor:
        """The state as images [N,C,H,W], the input of the classifier; see `to_image`."""
        return self.to_image(self.state)

    @property
    def reference(self) -> Tensor:
        """The diffused input at the level of the state, [N,C,H,W].

        Raises:
            Inapplicable: the purifier does not diffuse its input.
        """
        if self.refer is None:
            raise Inapplicable("its purifier does not diffuse the image, so its states have no reference")
        return self.refer()


def from_signed(state: Tensor) -> Tensor:
    """Return states [N,C,H,W] on the scale [-1,1] as images in [0,1]; values beyond are clamped."""
    return ((state + 1) / 2).clamp(0, 1)


def unclamped_from_signed(state: Tensor) -> Tensor:
    """Return states [N,C,H,W] on the scale [-1,1] as images; values beyond [0,1] are kept, as in several releases."""
    return (state + 1) / 2


def from_unit(state: Tensor) -> Tensor:
    """Return states [N,C,H,W] on the scale [0,1] as images in [0,1]; values beyond are clamped."""
    return state.clamp(0, 1)


def unchanged(state: Tensor) -> Tensor:
    """Return states [N,C,H,W] on the scale [0,1] as images; values beyond are kept, as in several releases."""
    return state
