"""Defines purifiers, which remove perturbations from images before the classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Self

from torch import Tensor, nn

from purebench.core.arguments import known_parameters
from purebench.core.defense.trace import State
from purebench.core.errors import Inapplicable


class Purifier(nn.Module, ABC):
    """A module that removes perturbations from images [N,C,H,W] in [0,1] before the classifier.

    Randomness comes from torch's global generators, so that seeding them determines a result. Images of a batch must
    not influence each other.

    Attributes:
        random: whether two passes over the same image may differ.
        differentiable: False for a purifier through which no gradient can pass (because of a file in between, for
            example). Attacks through it are SKIPPED, and BPDA takes their place. A purifier that merely does not pass
            its gradient on by mistake is ERRORED.
        resizes: True for a purifier whose output has another size than its input; the classifier takes that size.
    """

    random: bool
    differentiable: bool = True
    resizes: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the purified images, of the same shape.

        It is differentiable wherever the method is, so it must not use `torch.no_grad` inside.
        """

    def surrogate(self, x: Tensor) -> Tensor:
        """Return a differentiable approximation for the backward pass of BPDA (Athalye et al. 2018, arXiv:1802.00420).

        The default is the identity; a purifier may override it with a better approximation.
        """
        return x

    def trace(self, x: Tensor) -> Sequence[State]:
        """Purify images once, and return the states on the way; optional.

        It draws from the generators as `forward` does: under the same seed the image of the last state is the result of
        `forward`. It is differentiable, and gradients may flow back from every state.

        Args:
            x: images [N,C,H,W] in [0,1].

        Returns:
            The states in the order of the purification, at least one.

        Raises:
            Inapplicable: the purifier has no intermediate states.
        """
        raise Inapplicable("its purifier offers no intermediate states")

    def shortened(self, steps: int | None = None, rounds: int | None = None) -> Purifier:
        """Return a cheaper purifier with the same weights and noise levels, and fewer steps; optional.

        Args:
            steps: largest number of steps of a round; None for about half of the steps.
            rounds: largest number of rounds, for a purifier that repeats its procedure; None for the default of the
                purifier, which is described at its method.

        Raises:
            Inapplicable: the purifier has no steps that could be left out.
        """
        raise Inapplicable("its purifier offers no shorter version of itself")

    def noised(self, x: Tensor) -> Tensor:
        """Return the images with the noise of the purifier, but without its denoising; optional and differentiable.

        Args:
            x: images [N,C,H,W] in [0,1].

        Returns:
            Noisy images [N,C,H,W] in [0,1].

        Raises:
            Inapplicable: the purifier does not begin with noise.
        """
        raise Inapplicable("its purifier does not diffuse the image")

    def duplicate(self) -> Self:
        """Return a copy with the same submodules and parameters, whose attributes and buffers may be replaced."""
        made = copy(self)
        made._buffers = dict(self._buffers)
        return made


class Function(Purifier):
    """A purifier made of any callable on images, with an optional surrogate; for the rest see `Purifier`.

    Args:
        function: a callable from images [N,C,H,W] in [0,1] to purified images.
        random: whether two passes over the same image may differ.
        differentiable: False if no gradient can pass through the function.
        surrogate: a differentiable callable for the backward pass of BPDA; None for the identity.
    """

    @known_parameters
    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        random: bool,
        differentiable: bool = True,
        surrogate: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.function, self.random, self.differentiable, self.stand_in = function, random, differentiable, surrogate

    def forward(self, x: Tensor) -> Tensor:
        """Call the function."""
        return self.function(x)

    def surrogate(self, x: Tensor) -> Tensor:
        """Call the given surrogate, or return x if there is none."""
        return x if self.stand_in is None else self.stand_in(x)
