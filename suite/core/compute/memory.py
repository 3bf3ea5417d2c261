"""Configures glibc so that it does not return freed memory to the system after every large tensor.

By default glibc requests each block above 128 KiB to 32 MiB (an adaptive threshold) from the system and returns it when
it is freed, so that every forward pass maps and clears its activations again. With both thresholds raised, a process
keeps the memory that it has once allocated: a forward + backward pass of the bundled ResNet at batch 64 takes 0.38
instead of 0.52 ms per image on one core (compare `python benchmarks/speed.py --part ratio` with and without
`--default-malloc`), and the process's memory stays at its peak.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LARGE = 2**30


@cache
def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for mapping and trimming, once per process.

    Returns:
        Whether the thresholds were raised, which requires Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(ctypes.util.find_library("c") or "libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE)) and bool(mallopt(M_TRIM_THRESHOLD, LARGE))


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause Python's search for unreachable cycles, which visits millions of new objects again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
