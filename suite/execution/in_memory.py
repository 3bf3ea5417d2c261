"""Registers defenses that exist only in this process as rows of a board, for the duration of a run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from purebench.core.defense import Defense, Purifier
from purebench.core.errors import PurebenchError
from purebench.core.registry import IN_MEMORY, LOCAL, Spec
from purebench.execution.contract.pristine import copied

Thing = Defense | Purifier | nn.Module | Callable[[Tensor], Tensor]
"""Everything that `as_defense` accepts."""


def label(thing: Thing) -> str:
    """Return a row's name for an object: the name of a function, else that of the object's class."""
    name = thing.__name__ if inspect.isroutine(thing) else type(thing).__name__
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-._+") or "defense"


def checked(thing: Thing) -> Thing:
    """Return the object if it can be called with images.

    Raises:
        PurebenchError: it is a class, or cannot be called with images; the message says how to fix it.
    """
    if inspect.isclass(thing):
        raise PurebenchError(
            f"evaluate: expected an object, but got the class {thing.__name__}; pass an instance: {thing.__name__}(…)."
        )
    if not callable(thing):
        raise PurebenchError(
            f"evaluate: expected a name, a Defense, a Purifier, a module or a callable, but got {thing!r}."
        )
    try:
        inspect.signature(thing).bind("images")
    except TypeError as error:
        raise PurebenchError(
            f"evaluate: expected a callable that takes images [N,C,H,W], but {label(thing)} does not ({error}); if "
            "it is a factory, call it and pass the result."
        ) from error
    except ValueError:  # written in C, without a signature: whether it accepts images shows when it is called
        pass
    return thing


@contextmanager
def lent(things: Mapping[str, Thing]) -> Iterator[dict[str, Spec]]:
    """Register factories that copy the objects, inside a `with` block; the objects themselves do not change.

    Args:
        things: the objects by name.

    Yields:
        The specs of the factories, by the objects' names.

    Raises:
        PurebenchError: an object cannot be copied; raised when its spec is used.
    """
    specs = {name: Spec(f"{IN_MEMORY}{name}") for name in things}
    try:
        for name, spec in specs.items():
            LOCAL["defenses"][spec.name] = lambda thing=things[name]: copied(thing)
        yield specs
    finally:
        for spec in specs.values():
            LOCAL["defenses"].pop(spec.name, None)
