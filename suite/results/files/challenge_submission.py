"""Reads the npz file of a submission to a standing challenge, and checks its layout."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from purebench.core.errors import PurebenchError

LARGEST = 4 * 2**30
"""Most bytes of the arrays of a submission, so that a small file cannot fill the memory."""
Images = npt.NDArray[np.float32]


def read_submission(file: Path) -> tuple[list[int], Images, str]:
    """Read a submitted file.

    Args:
        file: the npz file.

    Returns:
        The positions in the data set, the examples [N,C,H,W] and the sha256 of the file.

    Raises:
        PurebenchError: it is not a submission.
    """
    wanted = "`adversarial` or `images` ([N,C,H,W] in [0,1]) and `positions` ([N])"
    try:
        content = file.read_bytes()
        with zipfile.ZipFile(file) as packed:
            if sum(part.file_size for part in packed.infolist()) > LARGEST:
                raise PurebenchError(
                    f"{file}: expected at most {LARGEST:,} bytes of arrays, but it has more; submit fewer images."
                )
        with np.load(file, allow_pickle=False) as arrays:
            name = "adversarial" if "adversarial" in arrays.files else "images"
            images, positions = arrays[name], arrays["positions"]
    except OSError as error:
        raise PurebenchError(f"{file}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise PurebenchError(f"{file}: expected an npz file with {wanted}, but it is not one ({error}).") from error
    if images.ndim != 4 or images.dtype.kind != "f" or positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise PurebenchError(
            f"{file}: expected {wanted} as floating-point and whole numbers, but got {images.dtype} "
            f"{list(images.shape)} and {positions.dtype} {list(positions.shape)}."
        )
    found = [int(one) for one in positions]
    if not found or len(found) != len(images) or len(set(found)) < len(found):
        told = f"{len(images)} examples and {len(set(found))} different positions"
        raise PurebenchError(f"{file}: expected one example for each position, but got {told}.")
    with np.errstate(over="ignore"):  # infinity, which is outside [0,1] and refused later
        return found, images.astype(np.float32), hashlib.sha256(content).hexdigest()
