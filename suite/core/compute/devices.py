"""Finds torch devices by name, and configures them."""

from __future__ import annotations

import torch

from purebench.core.errors import PurebenchError


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
