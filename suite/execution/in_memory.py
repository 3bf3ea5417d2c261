"""Defenses that live in this process alone, as rows of a board for as long as a run takes."""

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
"""What `as_defense` takes."""


def label(thing: Thing) -> str:
    """A row's name for an object: that of its function, else that of its class."""
    name = thing.__name__ if inspect.isroutine(thing) else type(thing).__name__
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-._+") or "defense"


def checked(thing: Thing) -> Thing:
    """The object, if it can be called with images. Raises PurebenchError with the cure for a class or a factory."""
    if inspect.isclass(thing):
        raise PurebenchError(
            f"evaluate: expected a defense, but got the class {thing.__name__}; make one: {thing.__name__}(…)."
        )
    if not callable(thing):
        raise PurebenchError(
            f"evaluate: expected a name, a Defense, a Purifier, a module or a callable, but got {thing!r}."
        )
    try:
        inspect.signature(thing).bind("images")
    except TypeError as error:
        raise PurebenchError(
            f"evaluate: expected a callable that takes images [N,C,H,W], but {label(thing)} does not ({error}); "
            "if it makes a defense, call it and pass what it gives."
        ) from error
    except ValueError:  # written in C, without a signature: that it takes images shows when it is asked
        pass
    return thing


@contextmanager
def lent(things: Mapping[str, Thing]) -> Iterator[dict[str, Spec]]:
    """Specs that make copies of the objects, by their names, inside the block; the objects themselves stay as they are.

    Raises PurebenchError, when a spec is used, for what cannot be copied.
    """
    specs = {name: Spec(f"{IN_MEMORY}{name}") for name in things}
    try:
        for name, spec in specs.items():
            LOCAL["defenses"][spec.name] = lambda thing=things[name]: copied(thing)
        yield specs
    finally:
        for spec in specs.values():
            LOCAL["defenses"].pop(spec.name, None)
