"""Defines certificates, and the protocol of defenses that can certify their answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from purebench.core.compute.batching import DeviceBatch


@dataclass(frozen=True)
class Certificate:
    """Certified classes and radii of a defense for N images.

    Attributes:
        classes: int [N], the predicted class, -1 where the defense abstains.
        radii: float64 [N], the largest l2 norm of a perturbation under which the prediction provably stays the same, 0
            where the defense abstains.
        passes: images passed to compute the certificate.
    """

    classes: Tensor
    radii: Tensor
    passes: int


@runtime_checkable
class Certifier(Protocol):
    """A defense that can certify its answers."""

    def certify(self, x: Tensor, *, n0: int, n: int, alpha: float, batch: DeviceBatch) -> Certificate:
        """Certify the answers to images; each certificate is wrong with a probability of at most alpha.

        Args:
            x: images [N,C,H,W].
            n0: draws to guess the class.
            n: draws to estimate its probability.
            alpha: the largest probability of a wrong certificate.
            batch: the device batch, the number of images that pass at once.
        """
