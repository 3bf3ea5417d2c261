"""Devices by name."""

from __future__ import annotations

import torch

from purebench.errors import PurebenchError


def find_device(name: str) -> torch.device:
    """`cpu`, `cuda` or `cuda:0` as a device that works. Raises PurebenchError if it is not to be had here."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PurebenchError(f"device: {name!r} is not to be had here ({reason}); use cpu, cuda or cuda:0.") from error
    return device
