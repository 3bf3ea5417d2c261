"""Describes the arguments of a network's calls, apart from their values and from the number of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

PLAIN = (bool, int, float, str, type(None))
"""Types of values that may be arguments besides tensors."""


@dataclass(frozen=True)
class Argument:
    """A tensor, or another value, among the arguments of a call.

    Attributes:
        by_row: Whether it is a tensor with one row per image.
        dtype: Type of the tensor; None for other values.
        shape: Shape of the tensor, without the first dimension if it has one row per image.
        value: Any other value.
    """

    by_row: bool
    dtype: torch.dtype | None
    shape: tuple[int, ...]
    value: Any = None

    @classmethod
    def of(cls, first: Any, second: Any, rows: tuple[int, int]) -> Argument | None:
        """Return the argument from its values in two calls with different numbers of rows; None if they do not fit."""
        if not isinstance(first, Tensor) or not isinstance(second, Tensor):
            equal = type(first) is type(second) and isinstance(first, PLAIN) and first == second
            return cls(False, None, (), first) if equal else None
        if first.dtype != second.dtype:
            return None
        if first.ndim and (len(first), len(second)) == rows and first.shape[1:] == second.shape[1:]:
            return cls(True, first.dtype, tuple(first.shape[1:]))
        return cls(False, first.dtype, tuple(first.shape)) if first.shape == second.shape else None

    def fits(self, given: Any) -> bool:
        """Return whether a value is one of this argument."""
        if self.dtype is None:
            return type(given) is type(self.value) and bool(given == self.value)
        if not isinstance(given, Tensor) or given.dtype != self.dtype or given.ndim != len(self.shape) + self.by_row:
            return False
        return tuple(given.shape[1:] if self.by_row else given.shape) == self.shape


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call, as a flat list and the structure that they come from."""

    leaves: list[Any]
    structure: pytree.TreeSpec

    @classmethod
    def of(cls, args: Sequence[Any], kwargs: dict[str, Any]) -> Arguments:
        """Return the arguments of a call."""
        return cls(*pytree.tree_flatten((tuple(args), kwargs)))

    @property
    def first_rows(self) -> int:
        """Length of the first tensor with dimensions; 0 if there is none."""
        return next((len(leaf) for leaf in self.leaves if isinstance(leaf, Tensor) and leaf.ndim), 0)


@dataclass(frozen=True)
class Layout:
    """The arguments of calls that differ in values and in the number of images only.

    Attributes:
        structure: Structure of the arguments.
        arguments: The arguments in it, in order; at least one has one row per image.
    """

    structure: pytree.TreeSpec
    arguments: tuple[Argument, ...]

    @classmethod
    def of(cls, first: Arguments, second: Arguments) -> Layout | None:
        """Return the layout of two calls with different numbers of images; None if they have none in common."""
        rows = first.first_rows, second.first_rows
        if first.structure != second.structure or rows[0] == rows[1]:
            return None
        pairs = zip(first.leaves, second.leaves, strict=True)
        found = [one for pair in pairs if (one := Argument.of(*pair, rows)) is not None]
        return cls(first.structure, tuple(found)) if len(found) == len(first.leaves) else None

    def rows(self, given: Arguments) -> int:
        """Return the number of rows of a call; 0 if it has another layout."""
        if given.structure != self.structure:
            return 0
        if not all(one.fits(leaf) for one, leaf in zip(self.arguments, given.leaves, strict=True)):
            return 0
        lengths = {len(leaf) for one, leaf in zip(self.arguments, given.leaves, strict=True) if one.by_row}
        return lengths.pop() if len(lengths) == 1 else 0

    def part(self, given: Arguments, start: int, stop: int, size: int) -> Arguments:
        """Return the arguments for some rows, filled up to `size` rows with copies of the last one; differentiable."""
        leaves = [
            _filled(leaf[start:stop], size) if one.by_row else leaf
            for one, leaf in zip(self.arguments, given.leaves, strict=True)
        ]
        return Arguments(leaves, given.structure)

    def __hash__(self) -> int:
        return hash((len(self.arguments), repr(self.arguments)))


def _filled(rows: Tensor, size: int) -> Tensor:
    missing = size - len(rows)
    return (torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows).contiguous()
