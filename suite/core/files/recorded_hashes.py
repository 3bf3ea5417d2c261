"""Records the hash of each file at its first use where its authors publish none, so that a later change is noticed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json
from purebench.core.files.text import MEBIBYTE, read_text

NAME = "hashes.json"
SCHEMA = 1
MOST_BYTES = 16 * MEBIBYTE


@dataclass
class RecordedHashes:
    """The sha256 of files at their first use, in the file hashes.json of a folder.

    Attributes:
        folder: the folder of the files.
        known: the sha256 of each file by its path, relative to the folder if it lies in it.
    """

    folder: Path
    known: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> RecordedHashes:
        """Read the record of a folder; an empty one if there is none.

        Raises:
            PurebenchError: the file is damaged.
        """
        path = folder / NAME
        if not path.is_file():
            return cls(folder)
        try:
            data = load_json(read_text(path, MOST_BYTES))
        except PurebenchError:
            data = None
        files = data.get("sha256") if isinstance(data, Mapping) and data.get("schema") == SCHEMA else None
        if not isinstance(files, Mapping) or not all(isinstance(one, str) for one in files.values()):
            raise PurebenchError(
                f"{path}: expected a record of hashes, schema {SCHEMA}, but the file is damaged or of another version; "
                "move it away, and hashes are recorded anew."
            )
        return cls(folder, dict(files))

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / NAME

    def name(self, place: Path) -> str:
        """Return the name of a file in the record."""
        return place.relative_to(self.folder).as_posix() if place.is_relative_to(self.folder) else str(place)

    def get(self, place: Path) -> str | None:
        """Return the recorded sha256 of a file, None for none."""
        return self.known.get(self.name(place))

    def record(self, place: Path, sha256: str) -> None:
        """Record the hash of a file, and save the record."""
        self.known[self.name(place)] = sha256
        text = json.dumps({"schema": SCHEMA, "sha256": dict(sorted(self.known.items()))}, indent=1) + "\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".tmp")
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, self.path)
