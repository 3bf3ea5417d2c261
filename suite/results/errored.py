"""Collects the reasons of ERRORED outcomes: each distinct reason once, with its attacks and their numbers of images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from purebench.results.attack_result import AttackResult

RETRY = "to try them again, run again with --retry-errors (in Python: retry_errors=True)"
"""The advice to rerun jobs after a temporary error; a permanent error occurs again."""


@dataclass(frozen=True)
class ErrorReason:
    """A reason why images ERRORED.

    Attributes:
        reason: the error's type and message.
        attacks: the name of each attack with this error, and the number of images (None in a result that does not
            contain it).
        of: the number of images of the row.
    """

    reason: str
    attacks: tuple[tuple[str, int | None], ...]
    of: int

    @property
    def where(self) -> str:
        """The attacks and their numbers of images: "apgd on 3 of 48 images"."""
        told = (name if images is None else f"{name} on {images} of {self.of} images" for name, images in self.attacks)
        return ", ".join(told)

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def errors_of(attacks: Iterable[AttackResult]) -> tuple[ErrorReason, ...]:
    """Return the distinct reasons, in the order of the attacks."""
    found: dict[tuple[str, int], list[tuple[str, int | None]]] = {}
    for attack in attacks:
        counts = attack.reason_images or (None,) * len(attack.reasons)
        for reason, images in zip(attack.reasons, counts, strict=True):
            found.setdefault((reason, len(attack.outcomes)), []).append((attack.name, images))
    return tuple(ErrorReason(reason, tuple(where), of) for (reason, of), where in found.items())
