"""A purifier before a chosen classifier, for example to combine adversarial training and purification.

A board has one classifier, and its purifiers are placed before it. `before(purifier=diffpure,
classifier=fashion-trades)` is a row with another classifier, such as an adversarially trained one (as DiffPure's
authors combine the two, Nie et al. 2022, arXiv:2205.07460), or a model of RobustBench's zoo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from purebench.core import registry
from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec


@listed(
    random="varies",
    gradient="varies",
    surrogate="varies",
    forwards="varies",
    passes="varies",
    ms="varies",
    licence="MIT",
    source="after Nie et al. 2022, arXiv:2205.07460",
)
def before(*, purifier: str | Mapping[str, Any], classifier: str | Mapping[str, Any] | nn.Module) -> Defense:
    """Place a purifier before a chosen classifier: `before(purifier=diffpure, classifier=fashion-trades)`.

    Args:
        purifier: a registered purifier as it is written on a board, `none`, or a defense that is built on a classifier
            (`vote`, `smoothing`).
        classifier: a registered classifier as it is written on a board; the board's classifier by default.

    Returns:
        The defense.

    Raises:
        PurebenchError: If one of them cannot be created, or the purifier is itself a classifier.
    """
    behind = classifier
    if not isinstance(behind, nn.Module):
        behind = registry.create("classifiers", Spec.parse(behind))
    spec = Spec.parse(purifier)
    made = registry.create("defenses", spec, classifier=behind)
    if not isinstance(made, Purifier | Defense):
        raise PurebenchError(
            f"before: expected purifier to be a purifier, but {spec.name} is a classifier; name it as classifier."
        )
    return as_defense(made, behind)
