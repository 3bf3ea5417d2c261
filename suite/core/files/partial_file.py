"""Keeps the part of a file that was downloaded so far, with what decides whether the rest may be appended to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import load_json

PART, STATE = ".part", ".part.json"


class PartialFile:
    """The beginning of a file, in NAME.part beside its place, with the server's facts about it in NAME.part.json.

    Args:
        place: the final path of the file.
        url: the address that it is downloaded from. A part of another address is deleted.

    Attributes:
        path: the part.
        validator: the strong entity tag that the server stated; empty for none. While it is the same, so is the file.
        total: the size of the whole file in bytes, None if the server did not state it.
    """

    def __init__(self, place: Path, url: str):
        self.place, self.url = place, url
        self.path, self._state = place.with_name(place.name + PART), place.with_name(place.name + STATE)
        self.validator, self.total = "", None  # type: str, int | None
        state = self._read()
        if state.get("url") != url or not self.path.is_file():
            self.clear()
        else:
            self.validator, self.total = str(state.get("validator") or ""), _whole(state.get("total"))

    def _read(self) -> Mapping[str, object]:
        try:
            state = load_json(self._state.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, PurebenchError):
            return {}
        return state if isinstance(state, dict) else {}

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def restart(self, validator: str, total: int | None) -> None:
        """Begin an empty part.

        Args:
            validator: the strong entity tag; empty for none.
            total: the size of the whole file in bytes, None if it is not known.
        """
        self.clear()
        self.validator, self.total = validator, total
        self.path.touch()
        self._state.write_text(
            json.dumps({"url": self.url, "validator": validator, "total": total}) + "\n", encoding="utf-8"
        )

    def append(self, data: bytes) -> None:
        """Append bytes to the part."""
        with self.path.open("ab") as file:
            file.write(data)

    def clear(self) -> None:
        """Delete the part. The state goes first, so that a part without one is never continued."""
        self._state.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self.validator, self.total = "", None

    def finish(self) -> None:
        """Give the part, which is complete, its final name."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.place)
        self._state.unlink(missing_ok=True)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
