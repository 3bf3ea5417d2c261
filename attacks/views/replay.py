"""Replays some rows of a batch with the random numbers that they had in the whole batch.

A draw of a random defense is determined by the states of torch's generators and by the shape of the batch. `Replay`
makes random tensors for all rows of the batch, as in the first pass, and takes those of the replayed rows. It takes any
tensor of a matching shape for one of them, so that the caller has to compare the result with that of the first pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class GeneratorStates:
    """States of torch's global generators.

    Attributes:
        cpu: State of the CPU's generator.
        device: The device whose generator is meant besides the CPU's.
        cuda: State of the device's generator; None on the CPU.
    """

    cpu: Tensor
    device: torch.device
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> GeneratorStates:
        """Return the current states of the CPU's generator and of the device's."""
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, cuda)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Set the generators to these states inside a `with` block; the caller's states are restored at its end."""
        with torch.random.fork_rng(devices=[] if self.cuda is None else [self.device]):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda, self.device)
            yield


class Replay(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Makes random tensors for the whole batch and takes the replayed rows, inside a `with` block.

    It acts on each operation of torch that draws random numbers, also in a backward pass. A tensor belongs to the batch
    if its first dimension, or else its second, is the number of replayed rows, or that number times `copies`. Three
    kinds of operations are not replayed: fused ones (the dropout of attention layers), those that write to several
    tensors (rrelu), and those that draw as many numbers as the values demand (poisson).

    Args:
        index: Which rows of the batch are replayed, [R], each once.
        total: Number of rows of the batch.
        copies: Number of copies of each row, one after the other, that the defense makes of it for its votes.
    """

    def __init__(self, index: Tensor, total: int, copies: int = 1):
        super().__init__()  # type: ignore[no-untyped-call]
        places = torch.zeros(total, dtype=torch.long, device=index.device)
        places[index] = torch.arange(len(index), device=index.device)
        self.taken = {len(index) * count: _copied(index, count) for count in {1, copies}}
        self.places = {len(index) * count: _copied(places, count) for count in {1, copies}}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch would otherwise import its compiler, for several seconds, at the first operation."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call an operation, with random numbers for the whole batch if it draws any for the replayed rows."""
        kwargs = dict(kwargs or {})
        drawn = torch.Tag.nondeterministic_seeded in func.tags and not func._schema.name.startswith("aten::_")
        return self._drawn(func, args, kwargs) if drawn else func(*args, **kwargs)

    def _drawn(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call a random operation for the whole batch, and return the replayed rows of its result."""
        names = [argument.name for argument in func._schema.arguments]
        filled = [each.name for each in func._schema.arguments if each.alias_info and each.alias_info.is_write]
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        axes = {name: axis for name, value in given.items() if (axis := self._axis(name, value)) is not None}
        if not axes or filled not in ([], ["self"]):
            return func(*args, **kwargs)
        name, axis = next(iter(axes.items()))
        size = (given[name].shape if isinstance(given[name], Tensor) else given[name])[axis]
        whole = {name: self._whole(given[name], axis) for name, axis in axes.items()}
        made = func(
            *(whole.get(name, value) for name, value in zip(names, args, strict=False)),
            **{name: whole.get(name, value) for name, value in kwargs.items()},
        )
        if filled:
            return given["self"].copy_(self._rows(made, axis, size))
        if isinstance(made, tuple | list):
            return type(made)(self._rows(each, axis, size) for each in made)
        return self._rows(made, axis, size)

    def _axis(self, name: str, value: Any) -> int | None:
        """Return the dimension of the replayed rows in an argument, a tensor or a size; None if it has none."""
        shape = value.shape if isinstance(value, Tensor) else value if name == "size" else ()
        return next((axis for axis, size in enumerate(shape[:2]) if size in self.taken), None)

    def _whole(self, value: Any, axis: int) -> Any:
        """Return a tensor or a size for the whole batch; rows that are not replayed are copies of the first."""
        if not isinstance(value, Tensor):
            return [*value[:axis], len(self.places[value[axis]]), *value[axis + 1 :]]
        whole = value.index_select(axis, self.places[value.shape[axis]].to(value.device))
        last = value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)
        return whole.contiguous(memory_format=torch.channels_last) if last and not value.is_contiguous() else whole

    def _rows(self, whole: Tensor, axis: int, size: int) -> Tensor:
        """Return the replayed rows of a tensor for the whole batch."""
        return whole.index_select(axis, self.taken[size].to(whole.device))


def _copied(rows: Tensor, count: int) -> Tensor:
    """Return the places of `count` copies of each row, one after the other, [len(rows)·count]."""
    return (rows[:, None] * count + torch.arange(count, device=rows.device)).flatten()
