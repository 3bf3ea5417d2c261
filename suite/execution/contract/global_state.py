"""Detects state that the code of a defense keeps outside of its objects: global variables and class attributes.

A copy of a defense shares them with the original, so that such a state survives from the attack to the verification.
"""

from __future__ import annotations

import functools
import sys
import types
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor, nn

from purebench.core.source.distributions import is_library

VALUES = (bool, int, float, complex, str, bytes, type(None))
MANY = 1000
"""Number of elements of a container that are examined."""
DEPTH = 3
"""Levels of containers in containers, and of attributes of attributes, that are examined."""


def snapshot(defense: nn.Module) -> dict[str, Any]:
    """Record the global variables and class attributes that a defense's own code names.

    Code of installed packages and of this package is not examined. Two snapshots are compared by `changed`.

    Args:
        defense: the defense.

    Returns:
        A description of the values, by name.
    """
    found: dict[str, Any] = {}
    for function in _functions(defense):
        names = _names(function.__code__)
        for name in sorted(names & function.__globals__.keys()):
            _note(found, f"{function.__module__}.{name}", function.__globals__[name], names)
        _note(found, f"{function.__module__}.{function.__qualname__}", function, names)
    for kind in {base for part in defense.modules() for base in type(part).__mro__ if _own(base.__module__)}:
        _note(found, f"{kind.__module__}.{kind.__qualname__}", kind, set())
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the names of the values that differ between two snapshots."""
    return [name for name in after if name in before and before[name] != after[name]]


def _note(found: dict[str, Any], name: str, value: Any, names: set[str], depth: int = DEPTH) -> None:
    """Describe a value, and the values in it; of a module those that the code names."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, VALUES):
        found[name] = repr(value)
    elif isinstance(value, list | tuple | set | frozenset | deque):
        found[name] = (len(value), [id(one) for one in islice(value, MANY)])
        inner = enumerate(value) if isinstance(value, list | tuple | deque) else ()
    elif isinstance(value, dict):
        found[name] = (len(value), [(id(key), id(one)) for key, one in islice(value.items(), MANY)])
        inner = value.items()
    elif isinstance(value, Tensor):
        found[name] = (id(value), value._version)
    elif isinstance(value, np.ndarray):
        found[name] = (id(value), value.tobytes() if value.size <= MANY else None)
    elif isinstance(value, types.FunctionType):
        found[name] = {key: id(one) for key, one in vars(value).items()}
        kept = (
            {"defaults": value.__defaults__, "keyword defaults": value.__kwdefaults__} if _own(value.__module__) else {}
        )
        inner = kept.items()
    elif isinstance(value, types.ModuleType):
        inner = [(one, vars(value)[one]) for one in sorted(names & vars(value).keys())] if _own(value.__name__) else ()
    elif isinstance(value, type):
        inner = [(key, one) for key, one in vars(value).items() if key[:2] != "__"] if _own(value.__module__) else ()
    elif _own(type(value).__module__) and hasattr(value, "__dict__"):
        inner = vars(value).items()
    for key, one in islice(inner, MANY) if depth else ():
        _note(found, f"{name}.{key}", one, names, depth - 1)


@functools.cache
def _own(module: str | None) -> bool:
    """Return whether a module is neither installed nor part of this package."""
    if module is None or module.partition(".")[0] in ("builtins", "purebench"):
        return False
    where = getattr(sys.modules.get(module), "__file__", None)
    return module == "__main__" if where is None else not is_library(where)


def _functions(defense: nn.Module) -> Iterator[types.FunctionType]:
    """Yield the functions of a defense's own code, and those that they name or keep."""
    seen: set[int] = set()
    left: list[Any] = [value for part in defense.modules() for value in (part, *vars(part).values())]
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.MethodType):
            left += [value.__func__, value.__self__]
        elif isinstance(value, functools.partial):
            left += [value.func, *value.args, *value.keywords.values()]
        elif isinstance(value, types.FunctionType):
            if _own(value.__module__):
                yield value
                names = _names(value.__code__)
                used = [value.__globals__.get(name) for name in names]
                own = [one for one in used if isinstance(one, types.ModuleType) and _own(one.__name__)]
                left += [*used, *(vars(module).get(name) for module in own for name in names)]
            left += [cell.cell_contents for cell in value.__closure__ or () if _filled(cell)]
        elif _own(type(value).__module__) or (isinstance(value, type) and _own(value.__module__)):
            kinds = type(value).__mro__ if not isinstance(value, type) else value.__mro__
            left += [one for kind in kinds if _own(kind.__module__) for one in vars(kind).values()]


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _names(code: types.CodeType) -> set[str]:
    """Return the global names that a piece of code, and code within it, uses."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner)
