"""Copies a defense that was never called: a defense with a state must not be verified with what it has stored.

`copy.deepcopy` treats functions as constants, so that the variables of a closure would be shared with the copy; here
they are copied too. Modules, which are most of a defense, are copied attribute by attribute, which is several times as
fast.
"""

from __future__ import annotations

import copy
import functools
import types
from collections import OrderedDict
from typing import Any, TypeVar

from torch import Tensor, nn

from purebench.core.errors import PurebenchError

T = TypeVar("T")

CONSTANTS = {bool, int, float, complex, str, bytes, type(None), types.ModuleType, types.BuiltinFunctionType}
SAYS_HOW = {"__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__new__"}
SAYS_HOW |= {"__getnewargs__", "__getnewargs_ex__"}
"""Methods of classes whose objects consist of more than their attributes."""
OLD_FILES = (nn.Module, nn.modules.conv._ConvNd)
"""Classes whose `__setstate__` only completes objects of old versions."""
HEAP = 1 << 9
"""The flag of classes that are defined in Python."""
CURE = "pass 'path/to/file.py:name', so that it can be created again"


def copied(defense: T) -> T:
    """Return a deep copy of a defense, including variables of closures and default arguments.

    Raises:
        PurebenchError: a part cannot be copied (an open file, a session of another library); the message says how to
            fix it.
    """
    try:
        made: T = _copy(defense, {})
    except Exception as error:  # parts may raise any error
        raise PurebenchError(
            "expected a defense that can be copied, because it is verified on a copy that was not attacked, but "
            f"got {type(error).__name__}: {error}; {CURE}."
        ) from error
    return made


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    kind: Any = type(value)
    if kind in CONSTANTS or isinstance(value, type):
        return value
    if id(value) in memo:
        return memo[id(value)]
    if kind in (dict, OrderedDict):
        return _filled(kind, value, memo)
    if kind is list:
        items: list[Any] = []
        memo[id(value)] = items
        items.extend(_copy(one, memo) for one in value)
        return items
    if kind in (set, frozenset):
        return memo.setdefault(id(value), kind(_copy(one, memo) for one in value))
    if kind is tuple:
        return memo.setdefault(id(value), tuple(_copy(one, memo) for one in value))
    if kind is types.FunctionType:
        return _function(value, memo)
    if kind is types.MethodType:
        return types.MethodType(value.__func__, _copy(value.__self__, memo))
    if kind is functools.partial:
        return functools.partial(_copy(value.func, memo), *_copy(value.args, memo), **_copy(value.keywords, memo))
    if kind is Tensor and value.is_leaf and not (value.requires_grad or value.is_quantized or value.is_sparse):
        return memo.setdefault(id(value), value.clone())
    if _plain(kind):
        memo[id(value)] = made = kind.__new__(kind)
        vars(made).update({name: _copy(one, memo) for name, one in vars(value).items()})
        return made
    return copy.deepcopy(value, memo)


def _filled(kind: type, value: dict[Any, Any], memo: dict[int, Any]) -> Any:
    memo[id(value)] = made = kind()
    made.update((key, _copy(one, memo)) for key, one in value.items())
    return made


@functools.cache
def _plain(kind: type) -> bool:
    """Return whether objects of a class consist of their attributes, and no method defines another way of copying."""
    if issubclass(kind, Tensor) or any(vars(base).get("__slots__") for base in kind.__mro__):
        return False
    bases = [base for base in kind.__mro__ if base is not object and base not in OLD_FILES]
    in_python = all(base.__flags__ & HEAP for base in bases)  # a class written in C may keep more than attributes
    return in_python and not any(SAYS_HOW & set(vars(base)) for base in bases)


def _function(function: types.FunctionType, memo: dict[int, Any]) -> types.FunctionType:
    """Return the same code with copies of its variables: closure cells, defaults, attributes."""
    kept = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *function.__dict__.values())
    if not function.__closure__ and all(type(one) in CONSTANTS for one in kept):
        return function
    cells, unfilled = [], []
    for old in function.__closure__ or ():
        if id(old) not in memo:
            memo[id(old)] = types.CellType()
            unfilled.append(old)
        cells.append(memo[id(old)])
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, tuple(cells) or None)
    memo[id(function)] = made  # before its variables, because it may be one of them
    made.__qualname__, made.__doc__, made.__module__ = function.__qualname__, function.__doc__, function.__module__
    made.__defaults__ = _copy(function.__defaults__, memo)
    made.__kwdefaults__ = _copy(function.__kwdefaults__, memo)
    made.__dict__.update({name: _copy(one, memo) for name, one in function.__dict__.items()})
    for old in unfilled:
        try:
            held = old.cell_contents
        except ValueError:  # a variable without a value
            continue
        memo[id(old)].cell_contents = _copy(held, memo)
    return made
