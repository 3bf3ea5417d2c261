"""Reads the cells of a store's tables, which may be damaged or hostile, within limits of memory.

Each function raises PurebenchError for a cell that `records.store` cannot have written.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np

from purebench.core.errors import PurebenchError
from purebench.core.files.places import STORE_SCHEMA
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import shown
from purebench.core.files.versioned_model import require_version
from purebench.data.datasets import Array

SCHEMA = STORE_SCHEMA
"""Version of the tables (SQLite's user_version), and of the plans."""
CURE = "choose another file (--store), or move this one"
MOST_PIXELS = 2**28
"""Largest number of values of the adversarial images of one job."""
MOST_KEYS = 1_000_000
MOST_UNLISTED = 20
"""Largest number of earlier runs whose unlisted rows a plan keeps."""
MOST_PACKED = 1100
"""Largest compression ratio of zlib, in bytes per compressed byte."""
CHUNK = 2**20


def text(value: Any) -> str:
    """Return the text of a cell."""
    if not isinstance(value, str):
        raise PurebenchError(f"expected text in a cell, but got {shown(value)}; {CURE}.")
    return value


def shape(text: Any) -> tuple[int, ...]:
    """Return the shape [N,C,H,W] that a cell holds."""
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9}){3}", text):
        raise PurebenchError(f"adversarial images: expected a shape such as 12,1,32,32, but got {shown(text)}.")
    sides = tuple(int(side) for side in text.split(","))
    if int(np.prod([float(side) for side in sides])) > MOST_PIXELS:
        raise PurebenchError(f"adversarial images: expected at most {MOST_PIXELS:,} numbers, but got the shape {text}.")
    return sides


def images(packed: Any, shape: tuple[int, ...], size: int) -> Array:
    """Return the images of a blob that zlib compressed; decompresses `size` bytes at most."""
    if not isinstance(packed, bytes):
        raise PurebenchError(f"adversarial images: expected bytes, but got {shown(packed)}.")
    made = np.empty(shape, dtype="<f4")
    place, filled = made.reshape(-1).view(np.uint8), 0
    unpacker, rest = zlib.decompressobj(), packed
    try:
        while not unpacker.eof and filled <= size:
            part = unpacker.decompress(rest, CHUNK)
            if not part and unpacker.unconsumed_tail == rest:
                break  # truncated
            rest = unpacker.unconsumed_tail
            place[filled : filled + len(part)] = np.frombuffer(part, dtype=np.uint8)[: size - filled]
            filled += len(part)
    except zlib.error as error:
        raise PurebenchError(f"adversarial images: the bytes are damaged ({error}).") from error
    if filled != size or not unpacker.eof:
        raise PurebenchError(f"adversarial images: expected {size:,} bytes for the shape {shape}, but got others.")
    return made


def plan(text: str) -> dict[str, Any]:
    """Return the plan of a board, of this version."""
    data = load_json(text)
    if not isinstance(data, dict):
        raise PurebenchError(f"expected the plan of a board, but got {shown(data)}; {CURE}.")
    require_version(data, SCHEMA, CURE)
    return data


def definition(text: str) -> dict[str, Any]:
    """Return the board of a plan, in plain values that `parse_board` validates."""
    if not isinstance(board := plan(text).get("board"), dict):
        raise PurebenchError(f"expected the plan of a board, but got {shown(board)}; {CURE}.")
    return board


def unlisted(text: str) -> list[tuple[dict[str, Any], str]]:
    """Return the boards of earlier runs whose rows a plan lacks, in plain values, and their origins."""
    found = plan(text).get("unlisted", [])
    each = found[:MOST_UNLISTED] if isinstance(found, list) else []
    boards = [(one.get("board"), one.get("origin", "")) for one in each if isinstance(one, dict)]
    return [(board, origin) for board, origin in boards if isinstance(board, dict) and isinstance(origin, str)]


def rows(text: str) -> dict[str, list[str]]:
    """Return the keys of the worst-case jobs of each row of a plan; {} if the plan does not have them."""
    found = plan(text).get("rows", {})
    known = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(each, list) and all(isinstance(key, str) for key in each) for each in known):
        raise PurebenchError(f"expected the keys of each row of a plan, but got {shown(found)}; {CURE}.")
    return dict(found)


def keys(text: str) -> list[str]:
    """Return the keys of a plan."""
    found = load_json(text)
    if not isinstance(found, list) or len(found) > MOST_KEYS or not all(isinstance(key, str) for key in found):
        raise PurebenchError(f"expected the keys of a plan, but got {shown(found)}; {CURE}.")
    return found
