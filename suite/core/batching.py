"""Work on a device in batches that fit: out of memory halves the batch, never the block, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device, or the machine, had no memory left."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)
    )


LARGEST = {"cpu": 128, "cuda": 2048}
"""More images at once bring nothing: on a CPU core a ResNet, a hierarchical VAE and a diffusion U-Net reach the least
time an image at 64 to 128 once freed memory is kept (see `allocator`)."""
ROOM = {"cpu": 2**31, "cuda": 2**34}
"""Bytes that the activations of a batch may take."""


def fitting(model: nn.Module, image: Tensor) -> int:
    """How many images to pass through the model at once: a power of two, at most LARGEST of the image's device.

    image: [1,C,H,W] in [0,1]. A short probe passes it and adds up what the model's layers answer, a layer that is used
    again counted once, because long chains are checkpointed. Bytes and not seconds decide: a result must not depend on
    how busy a machine was, and random numbers are drawn batch by batch. A model that cannot answer gets LARGEST here,
    and its error when it is asked in earnest.
    """
    kind = image.device.type if image.device.type in LARGEST else "cpu"
    bytes_of: dict[int, int] = {}

    def note(module: nn.Module, inputs: object, answer: object) -> None:
        if isinstance(answer, Tensor) and not any(True for _ in module.children()):
            bytes_of[id(module)] = answer.numel() * answer.element_size()

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        with torch.no_grad():
            model(image)
    except Exception:
        bytes_of.clear()
    finally:
        hook.remove()
    room = ROOM[kind] // max(sum(bytes_of.values()), 1)
    return max(1, min(LARGEST[kind], 2 ** (room.bit_length() - 1) if room else 1))


@dataclass
class DeviceBatch:
    """How many images pass through the model at once; `notes` tells of every halving."""

    size: int = 128
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
