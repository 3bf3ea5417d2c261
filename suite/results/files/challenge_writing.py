"""Appends events to the history of a standing challenge, one process at a time, and keeps accepted examples."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from purebench.core.errors import PurebenchError
from purebench.results.files.challenge_history import FOLDER, HISTORY, SCHEMA, Event, History, read_history
from purebench.results.files.export import as_json, write_bytes, write_files

Images = npt.NDArray[np.float32]


@contextmanager
def locked(results: Path, wait: float) -> Iterator[None]:
    """Let one process at a time change the history of a folder; the lock ends with the process.

    Args:
        results: the folder of results.
        wait: seconds to wait for another process.

    Raises:
        PurebenchError: another process still evaluates a submission, or the folder cannot be written.
    """
    folder = results / FOLDER
    lock = FileLock(folder / f"{HISTORY}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout as error:
        raise PurebenchError(
            f"{folder}: another submission is being evaluated; wait for it (--wait SECONDS)."
        ) from error
    except OSError as error:
        raise PurebenchError(
            f"{folder}: cannot be written ({error.strerror or error}); use --results FOLDER."
        ) from error
    try:
        yield
    finally:
        lock.release()


def append(results: Path, event: Event) -> History:
    """Append an event to the history in one step; call it inside `locked`.

    Args:
        results: the folder of results.
        event: the event; its hash of the event before it is set here.

    Returns:
        The new history.

    Raises:
        PurebenchError: the history is damaged, or cannot be written.
    """
    history = read_history(results).with_event(event)
    told = {"schema": SCHEMA, "events": [asdict(one) for one in history.events]}
    write_files({results / FOLDER / HISTORY: as_json(told)})
    return history


def keep_examples(results: Path, images: Images, positions: Sequence[int]) -> str:
    """Write adversarial examples into the folder of challenges, under the sha256 of the file.

    Args:
        results: the folder of results.
        images: the examples [N,C,H,W] in [0,1].
        positions: the positions of the images in the data set.

    Returns:
        The sha256 of the file.

    Raises:
        PurebenchError: the file cannot be written.
    """
    made = io.BytesIO()
    np.savez_compressed(made, images=images, positions=np.asarray(positions, dtype=np.int64))
    digest = hashlib.sha256(made.getvalue()).hexdigest()
    write_bytes([(_examples(results, digest), made.getvalue())])
    return digest


def kept_examples(results: Path, digest: str, positions: Sequence[int]) -> Images:
    """Read the examples that `keep_examples` wrote.

    Args:
        results: the folder of results.
        digest: the sha256 of the file.
        positions: the positions of the images that are expected.

    Raises:
        PurebenchError: the file is missing, or was changed.
    """
    path = _examples(results, digest)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PurebenchError(
            f"{path}: expected the examples of the last accepted submission, but the file cannot be read "
            f"({error.strerror or error}); restore it beside the history."
        ) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise PurebenchError(
            f"{path}: expected the examples of the last accepted submission, but they were changed; restore the file."
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        if file["positions"].tolist() != list(positions):
            raise PurebenchError(f"{path}: expected the images of the result, but it has others; restore the file.")
        images: Images = file["images"]
    return images


def _examples(results: Path, digest: str) -> Path:
    return results / FOLDER / f"{digest[:32]}.npz"
