"""Hashes the weights of models that the views of an attack name, such as `stand-in(classifier=path.py:net)`.

They decide the result of a job, and are no weights of the defense. The code of such a model is in the job's key by its
name; its weights may be in a file that changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from purebench.attacks.views.view import View
from purebench.boards.board import Board
from purebench.core import registry
from purebench.core.defense import Defense, fingerprint
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.registry import Spec
from purebench.core.seeds import hash_of, seeded

MODELS = ("classifiers", "defenses")
"""Groups of the registry whose members have weights."""


def view_weights(
    board: Board, defense: Callable[[str], Defense], known: dict[tuple[str, str], str] | None = None
) -> dict[tuple[str, str], str]:
    """Return the hash of the weights of the models that the views of attacks name.

    The views in the parameters of an attack, such as those of the parts of a sequence, are included.

    Args:
        board: The board.
        defense: Returns a copy of the defense of a row.
        known: Hashes by row and views, to which new ones are added.

    Returns:
        64 hex digits by the names of row and attack, for the attacks whose views name a model. A view that cannot be
        made counts as one without weights; its jobs report the error.
    """
    known = {} if known is None else known
    found: dict[tuple[str, str], str] = {}
    for attack in board.attacks:
        views = [Spec.parse(attack.gradient), *_views_in(attack.use.params)]
        views = [view for view in views if _names_model(view.params)]
        for row in board.defenses if views else ():
            place = row.name, "; ".join(map(str, views))
            if place not in known:
                known[place] = hash_of([_weights(view, row.name, defense) for view in views])
            found[row.name, attack.name] = known[place]
    return found


def _weights(view: Spec, row: str, defense: Callable[[str], Defense]) -> list[str]:
    """Return the fingerprints of the models that a view of a row's defense passes images through."""
    try:
        with seeded("weights of views"):
            made: View = registry.create("views", view, defense=defense(row), eot=1)
    except (PurebenchError, Inapplicable):
        return []
    return [fingerprint(part) for part in (made.defense, made.purify) if isinstance(part, nn.Module)]


def _views_in(value: Any) -> Iterator[Spec]:
    """Yield the views with parameters in a parameter of an attack, at any depth."""
    spec = _parsed(value)
    if spec is not None and spec.params and registry.registered("views", spec.name)[1] is not None:
        yield spec
    for one in _inside(value):
        yield from _views_in(one)


def _names_model(value: Any) -> bool:
    """Return whether a parameter of a view is, or contains, the name of a model or a file that makes one."""
    spec = _parsed(value)
    if spec is not None:
        named = spec.path is not None or any(registry.registered(group, spec.name)[1] is not None for group in MODELS)
        if named or _names_model(spec.params):
            return True
    return any(map(_names_model, _inside(value)))


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value


def _parsed(value: Any) -> Spec | None:
    """Return the spec that a text or a mapping with one key may be; None for other values."""
    if not isinstance(value, str | dict):
        return None
    try:
        return Spec.parse(value)
    except PurebenchError:
        return None
