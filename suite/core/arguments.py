"""Names the known parameters when a class of the public API is constructed with an unknown one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

from purebench.core.errors import PurebenchError, did_you_mean

Init = TypeVar("Init", bound=Callable[..., None])


class UnknownParameter(PurebenchError, TypeError):
    """A parameter by a name that the function does not take; a TypeError, as Python's own."""


def unknown_parameter(where: str, name: str, known: Iterable[str]) -> UnknownParameter:
    """Return the error for an unknown parameter.

    Args:
        where: name of the function or class, for the message.
        name: the unknown parameter.
        known: the known parameters.
    """
    known = list(known)
    hint = did_you_mean(name, known)
    more = f" It takes {', '.join(known)}." if hint.startswith("did you mean") else ""
    return UnknownParameter(f"{where}: the parameter {name!r} is unknown; {hint}{more}")


def check_parameters(where: str, function: Callable[..., object], params: Iterable[str]) -> None:
    """Check the names of the parameters of a call. Missing ones are left to Python.

    Args:
        where: name of the function or class, for the message.
        function: the function that is called.
        params: the names that are passed.

    Raises:
        UnknownParameter: the function does not take one of the names.
    """
    takes = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in takes):
        return
    known = [one.name for one in takes if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    known = [name for name in known if name != "self"]
    for name in params:
        if name not in known:
            raise unknown_parameter(where, name, known)


def known_parameters(init: Init) -> Init:
    """Let the constructor of a class refuse unknown parameters with an error that names the known ones; a decorator."""

    @functools.wraps(init)
    def checked(self: object, *args: object, **params: object) -> None:
        check_parameters(init.__qualname__.partition(".")[0], init, params)
        init(self, *args, **params)

    return checked  # type: ignore[return-value]


class KnownParameters:
    """Base of dataclasses whose constructor refuses unknown parameters with an error that names the known ones."""

    def __new__(cls, *_: Any, **params: Any) -> Self:
        """Check the names of the parameters.

        Raises:
            UnknownParameter: a name is unknown.
        """
        check_parameters(cls.__name__, cls.__init__, params)
        return super().__new__(cls)
