"""Makes the bundle of a row from the store of its evaluation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from purebench.boards.board import Board
from purebench.boards.trust import local_files
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.registry import IN_MEMORY
from purebench.core.source.local_imports import import_hashes
from purebench.data.datasets import Array
from purebench.records import store
from purebench.records.outcome import WORST_CASE
from purebench.records.provenance import versions
from purebench.records.record import Record
from purebench.results.files.bundles.bundle import bundle_of
from purebench.results.files.bundles.container import BOARD, EXAMPLES, MANIFEST, RESULT, pack
from purebench.results.files.bundles.examples import encode, example_hash, stored_rows
from purebench.results.files.bundles.manifest import Examples, Manifest, numbers_of
from purebench.results.files.export import as_json
from purebench.results.files.stored_board import from_store
from purebench.results.merge import merge
from purebench.results.results import DefenseResult


def make_bundle(path: Path, name: str, row: str) -> bytes:
    """Make the bundle of a row; equal records give equal bytes.

    Args:
        path: the store.
        name: the name of the board in the store.
        row: the name of the defense.

    Raises:
        PurebenchError: the row has no complete result in the store, or its adversarial examples are missing.
    """
    board, records = from_store(path, name)
    result = _result(board, records, row)
    counted = set(result.images)
    own = sorted((one for one in records if one.defense == row and one.covered_by(counted)), key=lambda one: one.block)
    keys: dict[str, list[str]] = {name: [] for name in (*(attack.name for attack in result.attacks), WORST_CASE)}
    for record in own:
        if record.attack in keys:
            keys[record.attack].append(record.key)
    images = _picked(path, keys[WORST_CASE], len(result.images), row)
    data = as_json(result.to_dict()).encode()
    picked = [name is not None for name in result.worst_case.picked]
    hashes = [example_hash(image) if some else None for image, some in zip(images, picked, strict=True)]
    stored = stored_rows(data, hashes, images[0].nbytes)
    part = _part(board, row)
    manifest = Manifest(
        board=board.name,
        row=row,
        purebench=versions()["purebench"],
        numbers=numbers_of(result),
        examples=Examples(hashes=hashes, stored=stored, shape=list(images.shape[1:])),
        keys=keys,
        code_files=code_hashes(part),
        imports={path.as_posix(): found for path in local_files(part) if (found := import_hashes(path))},
        schema=1,
    )
    made = pack(
        {
            MANIFEST: as_json(manifest.model_dump(mode="json", by_alias=True)).encode(),
            RESULT: data,
            BOARD: _in_order(part.to_dict()),
            EXAMPLES: encode(images[stored]),
        }
    )
    bundle_of(made)
    return made


def code_hashes(board: Board) -> dict[str, str]:
    """Return the sha256 of each Python file that a board names, by its path on the board.

    Args:
        board: the board.

    Raises:
        PurebenchError: a file cannot be read.
    """
    found = {}
    for path in local_files(board):
        try:
            found[path.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise PurebenchError(
                f"{path}: expected the Python file that the board names, but it cannot be read ({error.strerror}); run "
                "the command in the folder in which the board was run."
            ) from error
    return found


def _in_order(plain: Mapping[str, Any]) -> bytes:
    """Return JSON with the keys in their order, which is that of the attacks."""
    return f"{json.dumps(plain, indent=1, ensure_ascii=False)}\n".encode()


def _result(board: Board, records: Sequence[Record], row: str) -> DefenseResult:
    names = [one.name for one in board.shown]
    if row not in names:
        raise PurebenchError(f"{board.name}: the row {row!r} is unknown; {did_you_mean(row, names)}")
    if next(one.use.name for one in board.shown if one.name == row).startswith(IN_MEMORY):
        raise PurebenchError(
            f"{row}: expected a defense that can be built again from its spec, but it was an object in memory; save it "
            "in a file and run path/to/file.py:name."
        )
    found = next((one for one in merge(board, records) if one.name == row), None)
    if found is None or not found.complete:
        done = 0 if found is None else len(found.images)
        raise PurebenchError(
            f"{row}: expected a complete result, but {done} of {board.dataset.images} images are evaluated; run the "
            "board again to continue."
        )
    return found


def _picked(path: Path, keys: Sequence[str], images: int, row: str) -> Array:
    """Return the picked adversarial examples of all images [N,C,H,W]."""
    with store.reading(path) as saved:
        found = [saved.adversarial(key) for key in keys]
    some = [one for one in found if one is not None]
    if len(some) < len(found) or sum(map(len, some)) != images:
        raise PurebenchError(
            f"{row}: expected the adversarial examples of all images in {path}, but some are missing; run the board "
            "with --retry-errors, or into another store."
        )
    return np.concatenate(some)


def _part(board: Board, row: str) -> Board:
    """Return the board with this row, and with the rows whose adversarial images its attacks reuse."""
    sources = {attack.source.defense for attack in board.attacks if attack.source is not None}
    rows = tuple(
        replace(one, only_source=one.name != row) for one in board.defenses if one.name == row or one.name in sources
    )
    return replace(board, defenses=rows, controls=(), effort=None, title=board.name, about="")
