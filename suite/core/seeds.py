"""Seeds all random number generators from a job's key, and restores the caller's state afterwards."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*words: str) -> int:
    """Return a 63-bit seed that is determined by the words."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:8], "big") >> 1


@contextmanager
def seeded(*words: str, device: torch.device | None = None) -> Iterator[int]:
    """Seed torch, numpy and random from the words inside a `with` block; the caller's state is restored at its end.

    Args:
        words: the text that determines the seed.
        device: a device whose generator is seeded besides the CPU's.

    Yields:
        The seed.
    """
    seed = seed_of(*words)
    devices = [device] if device is not None and device.type == "cuda" else []
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield seed
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
