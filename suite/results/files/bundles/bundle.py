"""Defines a bundle, and reads it strictly: every contradiction between its parts is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from typing import Any

from purebench.boards.board import Board
from purebench.boards.parse import parse_board
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import shown
from purebench.core.files.versioned_model import from_json
from purebench.core.registry import Spec
from purebench.data.datasets import Array
from purebench.records.outcome import WORST_CASE
from purebench.results.files.bundles.container import BOARD, CURE, EXAMPLES, MANIFEST, RESULT, pack, unpack, unpacked
from purebench.results.files.bundles.examples import decode, example_hash, stored_rows
from purebench.results.files.bundles.manifest import SCHEMA, Manifest, numbers_of
from purebench.results.files.export import as_json
from purebench.results.merge import header_of
from purebench.results.results import DefenseResult

ROUNDING = 1e-6
"""Difference of two printed numbers that rounding on another machine may cause."""


@dataclass(frozen=True)
class Bundle:
    """The contents of a bundle.

    Attributes:
        manifest: the description of the contents.
        result: the result of the row.
        board: the board with this row, and with the rows whose adversarial images its attacks reuse.
        examples: the stored adversarial examples, float32 [K,C,H,W] in [0,1], of the rows `manifest.examples.stored`.
        result_hash: the sha256 of the result as a file.
        hash: the sha256 of the bundle.
    """

    manifest: Manifest
    result: DefenseResult
    board: Board
    examples: Array
    result_hash: str
    hash: str


def read_bundle(path: Path) -> Bundle:
    """Read and check a bundle; nothing that it contains is run.

    Args:
        path: the file.

    Raises:
        PurebenchError: the file is not a bundle, or its parts contradict each other.
    """
    return _checked(unpack(path), str(path))


def bundle_of(data: bytes, name: str = "bundle") -> Bundle:
    """Read and check the bytes of a bundle, as `read_bundle` does.

    Args:
        data: the bytes.
        name: its name, for messages.

    Raises:
        PurebenchError: as for `read_bundle`.
    """
    return _checked(unpacked(data, name), name)


def _checked(members: Mapping[str, bytes], name: str) -> Bundle:
    try:
        manifest = from_json(Manifest, _text(members[MANIFEST], MANIFEST), version=SCHEMA, cure=CURE)
        result = DefenseResult.from_json(_text(members[RESULT], RESULT))
        if as_json(result.to_dict()).encode() != members[RESULT]:
            raise PurebenchError(f"{RESULT}: expected a file exactly as purebench exports it, but it differs")
        board = _board(load_json(_text(members[BOARD], BOARD)), result)
        _check_manifest(manifest, result)
        _check_examples(manifest, result, members[RESULT])
        examples = decode(members[EXAMPLES], [len(manifest.examples.stored), *manifest.examples.shape])
        for row, image in zip(manifest.examples.stored, examples, strict=True):
            if example_hash(image) != manifest.examples.hashes[row]:
                raise PurebenchError(f"examples: expected the example of image {row} with its hash, but it differs")
    except PurebenchError as error:
        raise PurebenchError(f"{name}: {str(error).rstrip('.')}; {CURE}.") from error
    hashes = [hashlib.sha256(data).hexdigest() for data in (members[RESULT], pack(members))]
    return Bundle(manifest, result, board, examples, *hashes)


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PurebenchError(f"{name}: expected UTF-8, but byte {error.start} is invalid") from error


def _board(plain: Any, result: DefenseResult) -> Board:
    """Return the board of a bundle. Raises PurebenchError if it is not that of the result."""
    board = parse_board(plain)
    if header_of(board) != dict(result.board):
        raise PurebenchError(f"{BOARD}: expected the settings of the result, but they differ")
    if [attack.name for attack in board.attacks] != [attack.name for attack in result.attacks]:
        raise PurebenchError(f"{BOARD}: expected the attacks in the order of the result, but it differs")
    shown_rows = {row.name: row.use for row in board.shown}
    if shown_rows != {result.name: Spec(result.spec["name"], result.spec["params"])}:
        raise PurebenchError(f"{BOARD}: expected the row {result.name} of the result alone, but got {list(shown_rows)}")
    return replace(board, controls=(), effort=None)


def _check_manifest(manifest: Manifest, result: DefenseResult) -> None:
    if not result.complete:
        raise PurebenchError(f"{RESULT}: expected a complete result, but blocks of the board are missing")
    if (manifest.board, manifest.row) != (result.board["name"], result.name):
        raise PurebenchError(
            f"{MANIFEST}: expected {result.name} on {result.board['name']}, the row of the result, but got "
            f"{shown(manifest.row)} on {shown(manifest.board)}"
        )
    printed, computed = manifest.numbers.model_dump(), numbers_of(result).model_dump()
    if where := _difference(printed, computed):
        raise PurebenchError(f"{MANIFEST}: numbers{where}: it does not follow from the outcomes of the images")
    block = result.board["dataset"]["block"]
    blocks = -(-len(result.images) // block)
    names = [*(attack.name for attack in result.attacks), WORST_CASE]
    if sorted(manifest.keys) != sorted(names) or any(len(keys) != blocks for keys in manifest.keys.values()):
        raise PurebenchError(f"{MANIFEST}: keys: expected {blocks} keys for each attack of the result")


def _difference(printed: Any, computed: Any, where: str = "") -> str:
    """Return the place of the first difference between printed and computed numbers; "" if there is none."""
    if isinstance(printed, float) and isinstance(computed, float):
        return "" if isclose(printed, computed, rel_tol=0, abs_tol=ROUNDING) else where
    if isinstance(printed, Mapping) and isinstance(computed, Mapping) and printed.keys() == computed.keys():
        found = (_difference(printed[key], computed[key], f"{where}.{key}") for key in printed)
        return next((one for one in found if one), "")
    if isinstance(printed, list) and isinstance(computed, list) and len(printed) == len(computed):
        pairs = enumerate(zip(printed, computed, strict=True))
        return next((one for i, pair in pairs if (one := _difference(*pair, f"{where}[{i}]"))), "")
    return "" if printed == computed else where or "."


def _check_examples(manifest: Manifest, result: DefenseResult, data: bytes) -> None:
    hashes: Sequence[str | None] = manifest.examples.hashes
    picked = [name is not None for name in result.worst_case.picked]
    if [one is not None for one in hashes] != picked:
        raise PurebenchError("examples: expected a hash for every image with a picked example, and no other hash")
    size = 4 * int(manifest.examples.shape[0] * manifest.examples.shape[1] * manifest.examples.shape[2])
    if manifest.examples.stored != stored_rows(data, hashes, size):
        raise PurebenchError("examples: expected the stored images that follow from the hashes, but got others")
