"""Devices by name."""

from __future__ import annotations

import torch

from purebench.core.errors import PurebenchError


def find_device(name: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:0` as a device that works. Raises PurebenchError if it is not to be had here."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PurebenchError(f"device: {name!r} is not to be had here ({reason}); use cpu, cuda or cuda:0.") from error
    if device.type == "cuda":
        _full_float32()
    return device


def _full_float32() -> None:
    """Makes float32 on a GPU what it is on a CPU: no TF32, and convolutions whose sums have a fixed order.

    By default torch takes TF32, with a mantissa of 10 bits, for convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
