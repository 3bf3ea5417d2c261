"""Hashes of published files: parses what is known of one, and computes that of a file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from purebench.core.errors import PurebenchError

CHUNK = 1 << 20
TEXT = re.compile(r"(?P<algorithm>sha256|md5) (?P<digits>[0-9a-f]+)(?P<remark> \(.+\))?")
COPY = "third party"
"""Words of a remark by which a hash is one of somebody's copy, and not of the authors' own file."""
LEAST = 8
"""Fewest digits of a hash; torch states the first eight of a sha256 in the names of its files."""


@dataclass(frozen=True)
class Digest:
    """The hash of a published file, as far as it is known.

    Attributes:
        algorithm: `sha256` or `md5`.
        digits: its hexadecimal digits, or the first of them.
        of_copy: whether it was computed from a third party's copy, so that the authors' file may have another.
    """

    algorithm: str
    digits: str
    of_copy: bool = False

    @classmethod
    def parse(cls, text: str) -> Digest | None:
        """Parse a hash as `Missing.digest` states it; None for an empty text.

        Raises:
            PurebenchError: the text has another form.

        Examples:
            >>> Digest.parse("md5 1fa350b952534ae442b1d5235cce5cd3 (of a third party's copy)").of_copy
            True
        """
        if not text:
            return None
        found = TEXT.fullmatch(text)
        if found is None or len(found["digits"]) < LEAST:
            raise PurebenchError(f"digest: expected 'sha256 HEX' or 'md5 HEX', but got {text!r}.")
        return cls(found["algorithm"], found["digits"], COPY in (found["remark"] or ""))

    def fits(self, computed: str) -> bool:
        """Return whether a whole hash, computed by the same algorithm, is this one."""
        return computed.startswith(self.digits)

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digits}"


def file_digest(path: Path, algorithm: str, progress: Callable[[int, int], None] = lambda done, size: None) -> str:
    """Return the hash of a file in hexadecimal digits.

    Args:
        path: the file.
        algorithm: `sha256` or `md5`.
        progress: called with the bytes read so far and the size of the file.
    """
    computed, size, done = hashlib.new(algorithm, usedforsecurity=False), path.stat().st_size, 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            computed.update(chunk)
            done += len(chunk)
            progress(done, size)
    return computed.hexdigest()
