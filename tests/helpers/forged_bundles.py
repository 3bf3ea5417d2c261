"""Builders of bundles: honest ones of a small board, and forged ones whose hashes and numbers agree with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from toy_board import write_toy

from purebench.boards.parse import load_board
from purebench.execution.board_run import run_board
from purebench.results.files.bundles.container import BOARD, EXAMPLES, MANIFEST, RESULT, pack, unpacked
from purebench.results.files.bundles.examples import decode, encode, example_hash, stored_rows
from purebench.results.files.bundles.manifest import numbers_of
from purebench.results.files.bundles.writing import make_bundle
from purebench.results.files.export import as_json
from purebench.results.results import DefenseResult

Edit = Callable[[dict[str, Any]], None]
"""Changes the parts of a bundle in place: manifest, result, board (plain values) and examples (an array)."""


def toy_bundle(folder: Path, row: str = "linear", **parts: object) -> Path:
    """Runs the toy board with its toy.py in the folder, and writes the bundle of a row beside it."""
    board = load_board(write_toy(folder, **parts))
    store = folder / "store.sqlite"
    if not store.is_file():
        run_board(board, store, workers=1)
    path = folder / f"{row}.zip"
    path.write_bytes(make_bundle(store, board.name, row))
    return path


def parts_of(data: bytes) -> dict[str, Any]:
    members = unpacked(data, "bundle")
    found = {name: json.loads(members[name]) for name in (MANIFEST, RESULT, BOARD)}
    examples = found[MANIFEST]["examples"]
    return {
        "manifest": found[MANIFEST],
        "result": found[RESULT],
        "board": found[BOARD],
        "examples": decode(members[EXAMPLES], [len(examples["stored"]), *examples["shape"]]).copy(),
    }


def forged(data: bytes, edit: Edit, *, numbers: bool = True, hashes: bool = True) -> bytes:
    """Returns the bundle after an edit, with all hashes of the container made again.

    Args:
        data: an honest bundle.
        edit: the change.
        numbers: whether the printed numbers are computed again.
        hashes: whether the hashes of the examples are computed again.
    """
    parts = parts_of(data)
    edit(parts)
    result = as_json(parts["result"]).encode()
    manifest = parts["manifest"]
    if numbers:
        read = DefenseResult.from_json(result.decode())
        result = as_json(read.to_dict()).encode()
        manifest["numbers"] = json.loads(numbers_of(read).model_dump_json())
    if hashes:
        for row, image in zip(manifest["examples"]["stored"], parts["examples"], strict=True):
            manifest["examples"]["hashes"][row] = example_hash(image)
        size = 4 * int(np.prod(manifest["examples"]["shape"]))
        manifest["examples"]["stored"] = stored_rows(result, manifest["examples"]["hashes"], size)
    board = f"{json.dumps(parts['board'], indent=1, ensure_ascii=False)}\n".encode()
    return pack(
        {MANIFEST: as_json(manifest).encode(), RESULT: result, BOARD: board, EXAMPLES: encode(parts["examples"])}
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
