"""Splits work on a device into batches that fit in memory.

When memory runs out, the device batch is halved, never the block, and a note is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that the device, or the machine, ran out of memory."""
    told = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in told or "can't allocate memory" in told)
    )


LARGEST = {"cpu": 128, "cuda": 2048}
"""Largest device batch. Larger ones are not faster: on a CPU core a ResNet, a hierarchical VAE and a diffusion U-Net
reach their shortest time per image at 64 to 128 images if freed memory is kept (see `core.compute.memory`)."""
ROOM = {"cpu": 2**31, "cuda": 2**34}
"""Bytes that the activations of a batch may take."""


def fitting(model: nn.Module, image: Tensor) -> int:
    """Return how many images to pass through the model at once: a power of two, at most LARGEST of the image's device.

    One image is passed as a probe, and the sizes of the outputs of the model's layers are added up. A layer that is
    used several times counts once, because long chains are checkpointed. The size is derived from bytes and not from
    seconds, because random numbers are drawn batch by batch and a result must not depend on the load of the machine.
    For a model that raises an error the answer is LARGEST; the error is raised again when the model is evaluated.

    Args:
        model: the model.
        image: one image [1,C,H,W] in [0,1].
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
    """The number of images that pass through the model at once.

    Attributes:
        size: the number of images.
        notes: one note for each time that the size was halved.
    """

    size: int = 128
    notes: list[str] = field(default_factory=list)

    def map(self, work: Callable[..., tuple[Tensor, ...]], *batches: Tensor) -> tuple[Tensor, ...]:
        """Call work(*parts) on parts of the batches along their first axis, and concatenate the answers.

        If a part does not fit in memory, half of its size is tried.

        Args:
            work: a function of one part of each batch, which returns a tuple of tensors.
            batches: tensors of equal length.

        Raises:
            Exception: any error of `work`, also out of memory if a single image does not fit.
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
