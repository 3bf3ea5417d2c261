"""Hashes, chooses and encodes the adversarial examples of a bundle.

All examples are hashed. If they are too large for a file, some are stored; their choice follows from the hash of the
result and of all examples, so that the author of a bundle cannot choose the images that are queried again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import numpy as np

from purebench.core.errors import PurebenchError
from purebench.core.files.text import MEBIBYTE
from purebench.data.datasets import Array

MOST_PIXEL_BYTES = 64 * MEBIBYTE
"""Size of the stored examples of a bundle: 5,592 images of 3×32×32, or 111 of 3×224×224."""


def example_hash(image: Array) -> str:
    """Return the sha256 of one example [C,H,W] as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype="<f4").tobytes()).hexdigest()


def stored_rows(result: bytes, hashes: Sequence[str | None], example_bytes: int) -> list[int]:
    """Return the rows of the images whose examples are stored, ascending: all, or as many as fit, at random.

    Args:
        result: the result as a file.
        hashes: the hash of each example, None where there is none.
        example_bytes: the size of an example.
    """
    rows = [row for row, one in enumerate(hashes) if one is not None]
    most = max(1, MOST_PIXEL_BYTES // max(1, example_bytes))
    if len(rows) <= most:
        return rows
    everything = hashlib.sha256(result)
    for one in hashes:
        everything.update(f"{one}\n".encode())
    start = everything.digest()
    return sorted(sorted(rows, key=lambda row: hashlib.sha256(start + str(row).encode()).digest())[:most])


def encode(images: Array) -> bytes:
    """Return examples [N,C,H,W] as an npy file of little-endian float32."""
    made = io.BytesIO()
    np.lib.format.write_array(made, np.ascontiguousarray(images, dtype="<f4"), version=(1, 0), allow_pickle=False)
    return made.getvalue()


def decode(data: bytes, shape: Sequence[int]) -> Array:
    """Read examples, which must be finite and in [0,1].

    Args:
        data: an npy file, exactly as `encode` writes it.
        shape: the expected shape [N,C,H,W].

    Raises:
        PurebenchError: the file is not of this shape, or its values are not as described.
    """
    count = int(np.prod([float(side) for side in shape]))
    empty = encode(np.zeros((0, *shape[1:]), dtype="<f4"))
    if len(data) > 4 * count + len(empty) + 128:
        raise PurebenchError(f"examples: expected {count:,} numbers for the shape {list(shape)}, but the file has more")
    try:
        found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, SyntaxError, TypeError) as error:
        raise PurebenchError(f"examples: expected an npy file of float32, but {error}") from error
    if found.shape != tuple(shape) or found.dtype != np.dtype("<f4") or encode(found) != data:
        raise PurebenchError(f"examples: expected float32 {list(shape)}, but got {found.dtype} {list(found.shape)}")
    if not np.isfinite(found).all():
        raise PurebenchError("examples: expected finite images, but got NaN or infinity")
    if found.size and not 0 <= float(found.min()) <= float(found.max()) <= 1:
        raise PurebenchError(
            f"examples: expected images in [0,1], but got values from {found.min():g} to {found.max():g}"
        )
    return found
