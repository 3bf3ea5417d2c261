"""Work on a device in batches that fit: out of memory halves the batch, never the block, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device, or the machine, had no memory left."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)
    )


@dataclass
class DeviceBatch:
    """How many images pass through the model at once; `notes` tells of every halving."""

    size: int = 256
    notes: list[str] = field(default_factory=list)

    def map(self, work: Callable[..., tuple[Tensor, ...]], *batches: Tensor) -> tuple[Tensor, ...]:
        """work(*parts) over parts of the batches along their first axis, the answers put together again.

        When a part does not fit, half of it is tried. Raises what `work` raises once a single image does not fit.
        """
        done: list[tuple[Tensor, ...]] = []
        start, total = 0, len(batches[0])
        while start < total or not done:
            try:
                done.append(work(*(batch[start : start + self.size] for batch in batches)))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self.size == 1:
                    raise
                self.size = max(1, min(self.size, total) // 2)
                self.notes.append(f"out of memory: device batch halved to {self.size}")
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            start += self.size
        return tuple(parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*done, strict=True))
