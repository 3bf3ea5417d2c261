"""Finds torch devices by name, and configures them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from purebench.core.errors import PurebenchError

FIRST_WITH_TF32 = 8
"""Major number of the compute capability from which GPUs have TF32."""


def find_device(name: str) -> torch.device:
    """Return the device of a name, such as `cpu`, `cuda` or `cuda:0`, after a check that it works.

    Raises:
        PurebenchError: the device is not available.
    """
    try:
        device = torch.device(name)
        float(torch.zeros(1, device=device))  # some kinds, such as meta, can be named and do not compute
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
        known = ", ".join(["cpu", *(["cuda"] if gpus else []), *gpus])
        cure = "use one of these" if gpus else "use cpu; a GPU needs a torch with CUDA and its driver"
        raise PurebenchError(
            f"device: expected a device of this machine ({known}), but got {name!r}; {cure}."
        ) from error
    if device.type == "cuda":
        _full_float32()
    return device


def _full_float32() -> None:
    """Give float32 on a GPU the precision of a CPU: no TF32, and convolutions with a fixed order of summation.

    By default torch uses TF32, with a mantissa of 10 bits, for convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


@contextmanager
def tf32(on: bool = True) -> Iterator[None]:
    """Use TF32 for the products and convolutions of float32 on a GPU inside a `with` block, or do not use it.

    Args:
        on: False for full float32.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def check_precision(precision: str, device: torch.device) -> None:
    """Check that a device has an arithmetic.

    Args:
        precision: float32, tf32 or bf16.
        device: the device.

    Raises:
        PurebenchError: tf32 on a device without it.
    """
    if precision != "tf32":
        return
    given = "the CPU"
    if device.type == "cuda":
        if torch.cuda.get_device_capability(device)[0] >= FIRST_WITH_TF32 and torch.version.cuda:
            return
        given = torch.cuda.get_device_name(device)
    raise PurebenchError(
        f"attack_precision: expected float32 or bf16 on {given}, which has no TF32, but got tf32; remove it, or use an "
        "NVIDIA GPU of compute capability 8.0 or newer (--device cuda)."
    )


@contextmanager
def single_thread(device: torch.device) -> Iterator[None]:
    """Use one thread of torch on the CPU inside a `with` block.

    The order of floating-point sums depends on the number of threads, so every job runs on one.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
