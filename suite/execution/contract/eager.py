"""Models that `torch.compile` made run as they were before: a job's batches have many sizes, each a compilation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def eagerly() -> Iterator[None]:
    """Nothing is compiled inside."""
    if "torch._dynamo" not in sys.modules:  # nothing was
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield
