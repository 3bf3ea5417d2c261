"""Defines the result of RobustBench's protocol, with our verification beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from purebench.records.outcome import Outcome
from purebench.records.provenance import versions
from purebench.statistics import Estimate


@dataclass(frozen=True)
class ZooResult:
    """The result of `benchmark`.

    The estimates are accuracies in [0,1], with Clopper–Pearson intervals over the images.

    Attributes:
        model: Name in the zoo.
        dataset: cifar10, cifar100 or imagenet.
        threat_model: Linf or L2.
        eps: Radius in the units of images in [0,1].
        version: Version of AutoAttack.
        seed: Seed of AutoAttack.
        batch_size: Images at once.
        clean: RobustBench's own clean accuracy.
        robust: RobustBench's own robust accuracy.
        claimed: Accuracy by AutoAttack's verdict.
        verified: Accuracy of the model queried once more with AutoAttack's images, each first brought back into the
            threat model.
        labels: Labels, image by image.
        claims: Whether AutoAttack reports that it broke the image.
        outcomes: Outcomes by our verification.
        distances: Distance of AutoAttack's image as it was returned, in the threat's norm.
        notes: Warnings of AutoAttack, and deviations from the protocol.
        device: Device that it ran on.
        seconds: Wall time.
    """

    model: str
    dataset: str
    threat_model: str
    eps: float
    version: str
    seed: int
    batch_size: int
    clean: Estimate
    robust: Estimate
    claimed: Estimate
    verified: Estimate
    labels: list[int]
    claims: list[bool]
    outcomes: list[Outcome]
    distances: list[float]
    notes: list[str]
    device: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, with the versions of the packages."""
        return {**asdict(self), "versions": versions()}
