"""Defines purifiers that search the codes of a generator for the image nearest to their input."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from purebench.core.defense.purifier import Purifier


class LatentSearchPurifier(Purifier):
    """A purifier that returns the generator's image of the code that its search finds: generate(search(x)).

    An attacker who knows the purifier searches the codes too, which needs no gradient of the purifier's search.
    """

    @abstractmethod
    def search(self, x: Tensor) -> Tensor:
        """Return the code [N,D] that the purifier's own search finds for images [N,C,H,W] in [0,1]."""

    @abstractmethod
    def generate(self, codes: Tensor) -> Tensor:
        """Return the images [N,C,H,W] in [0,1] of codes [N,D]. Differentiable."""
