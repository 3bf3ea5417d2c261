"""Keeps a list of the files of an export, so that a folder never holds files of two runs or of two boards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import MEBIBYTE, read_text
from purebench.records.record import Record

NAME = "export.json"
SUFFIXES = (".npz", ".png", ".md", ".tex", ".csv", ".bib")
"""Suffixes of the files that an export writes; other files are never deleted, even if a list names them."""
MODEL_INFO = re.compile(r"model_info/[^/]+/[^/]+/[^/]+\.json")
"""Paths of JSON files that an export writes; no other one is ever deleted."""


@dataclass(frozen=True)
class ExportManifest:
    """The files that the last export of a board wrote into a folder.

    Attributes:
        folder: the folder.
        board: the name of the board.
        files: the paths of the files, relative to the folder.
        records: a hash of the records that were exported; empty if there was no export.
    """

    folder: Path
    board: str
    files: tuple[str, ...] = ()
    records: str = ""

    @classmethod
    def of(cls, folder: Path, board: str) -> ExportManifest:
        """Return the list in a folder, or an empty one.

        Args:
            folder: the folder.
            board: the name of the board that is exported now.

        Raises:
            PurebenchError: the folder holds an export of another board, or its list is damaged.
        """
        path = folder / NAME
        if not path.is_file():
            return cls(folder, board)
        data = load_json(read_text(path, 64 * MEBIBYTE))
        files = data.get("files") if isinstance(data, dict) else None
        if not isinstance(files, list) or not all(isinstance(one, str) for one in files):
            raise PurebenchError(
                f"{path}: expected the list of files of an export, but it is damaged; choose another folder (-o)."
            )
        if data.get("board") != board:
            raise PurebenchError(
                f"{folder}: expected no export of another board, but it contains one of {data.get('board')!r}; "
                "choose another folder (-o)."
            )
        return cls(folder, board, tuple(files), str(data.get("records")))

    def replace_by(self, written: Sequence[Path], exported: Iterable[Record]) -> None:
        """Save the new list, and delete the files of an export of other records that were not written again.

        Args:
            written: the paths of the files that were written, all in the folder.
            exported: the records that were exported. A job that was run again after an error has the same key, but
                another record.

        Raises:
            OSError: a file cannot be deleted or written.
        """
        now = {path.relative_to(self.folder).as_posix() for path in written}
        digest = hashlib.sha256()
        for record in sorted(exported, key=lambda one: one.key):
            digest.update(record.to_json().encode())
        records = digest.hexdigest()
        if records == self.records:
            now |= set(self.files)
        root = self.folder.resolve()
        for name in set(self.files) - now:
            path = self.folder / name
            if (path.suffix in SUFFIXES or MODEL_INFO.fullmatch(name)) and path.resolve().is_relative_to(root):
                path.unlink(missing_ok=True)
        text = json.dumps({"board": self.board, "records": records, "files": sorted(now)}, indent=1)
        (self.folder / NAME).write_text(text + "\n", encoding="utf-8")
