"""Any purifier before a classifier of its own choice: adversarial training and purification together.

A board has one classifier, and its purifiers stand before that. `before(purifier=diffpure, classifier=fashion-trades)`
is a row whose classifier is another, such as one that was trained to withstand attacks (as DiffPure's authors combine
the two, Nie et al. 2022, arXiv:2205.07460), or a model of RobustBench's zoo.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from purebench.core import registry
from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec


def before(*, purifier: str | Mapping[str, Any], classifier: str | Mapping[str, Any] | nn.Module) -> Defense:
    """A purifier before a classifier of one's own choice: `before(purifier=diffpure, classifier=fashion-trades)`.

    purifier: a registered one as one writes it on a board, `none`, or a defense that is made of a classifier (`vote`,
    `smoothing`); classifier: a registered one as one writes it, else the board's.
    Raises PurebenchError for what cannot be made, and where something that is a classifier itself is given as purifier.
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
