"""Checks the checkpoints of RobustBench's zoo, and allows the plain values that they hold besides weights.

Checkpoints are pickles, and RobustBench leaves it to torch to read them. Since 2.6 torch loads only weights
(weights_only); in addition we allow the plain values that training scripts leave in their files.
"""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from purebench.core.errors import PurebenchError

MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""Magic number of torch's checkpoints before they were zip files."""


class NumberType:
    """Replaces numpy's dtype of a number while a checkpoint is read, because torch does not allow it.

    Args:
        kind: The dtype's code, such as f8.
        *_: Ignored.

    Raises:
        pickle.UnpicklingError: If it is not the dtype of a number.
    """

    def __init__(self, kind: str, *_: object):
        if kind not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise pickle.UnpicklingError(f"expected the dtype of a number, but got {kind!r}")
        self.kind = kind

    def __setstate__(self, state: tuple[object, ...]) -> None:
        self.kind = f"{state[1]}{self.kind}"  # the byte order


def number(kind: NumberType, data: bytes) -> float:
    """Return a number of numpy from its pickled form."""
    return float(np.frombuffer(data, kind.kind)[0])


PLAIN: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    (NumberType, "numpy.dtype"),
    (number, "numpy.core.multiarray.scalar"),
    (number, "numpy._core.multiarray.scalar"),
]
"""Classes allowed in a checkpoint besides weights: a script's options, and numbers of numpy. None of them runs code."""


def check_checkpoint(file: Path) -> None:
    """Raise PurebenchError for a file that torch did not write; torch's own message does not name the file."""
    with file.open("rb") as opened:
        head = opened.read(64)
    if not zipfile.is_zipfile(file) and MAGIC not in head:
        size = file.stat().st_size
        raise PurebenchError(
            f"robustbench: expected a PyTorch checkpoint, but {file} is not one ({size:,} bytes"
            + (": it is empty). " if not size else "). If it is a web page, saved instead of the file: ")
            + "download it again."
        )
