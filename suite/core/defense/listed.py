"""Declares the properties of a defense in its own file; `purebench list defenses` reads them without importing it.

    @listed(random=True, gradient="exact", surrogate="identity", forwards=4, licence="MIT", source="Nie et al. 2022, …")
    def diffpure(…): ...

The arguments are literals, so that they can be read from the source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

Made = TypeVar("Made", bound=Callable[..., Any])
Varies = Literal["varies"]


def listed(
    *,
    random: bool | Varies,
    gradient: Literal["exact", "zero", "none", "varies"],
    surrogate: str,
    forwards: int | Varies,
    passes: int | Varies = 1,
    ms: float | Varies | None = None,
    licence: str,
    source: str,
) -> Callable[[Made], Made]:
    """Declare the properties of a defense at its default settings, as a decorator of its factory.

    Each property may be "varies" if it depends on the parameters. The decorator changes nothing.

    Args:
        random: Whether two answers to an image may differ.
        gradient: Whether the purifier is differentiable: `exact` where the gradient passes through it, `zero` where the
            gradient is zero almost everywhere, `none` where it cannot pass, so that exact attacks are SKIPPED.
        surrogate: The function that BPDA differentiates: `identity`, `none` where there is no purifier, or a few words.
        forwards: How often one draw passes an image through the defense's own networks (most layers of them).
        passes: How often one draw passes an image through the classifier.
        ms: CPU milliseconds per image of a draw, classifier included; None if it was not measured, or was measured into
            defenses/costs.json.
        licence: Licence of code and weights.
        source: The paper, as `Authors YEAR, arXiv:NUMBER`; `control` or `own` if there is none.
    """
    return lambda make: make
