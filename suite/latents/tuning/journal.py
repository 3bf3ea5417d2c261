"""A search on disk: its setting, a line for each evaluation as it ends, so that a killed one goes on.

Plain lines of JSON rather than a study's database: what a proposal depends on is in them, and anybody can read them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.latents.tuning.propose import Trial

SETTING, TRIALS, FRESH = "setting.json", "trials", "fresh.jsonl"


class Journal:
    """The folder of one setting: trials-HOW-SPACE.jsonl of each search in it, and fresh.jsonl of what was asked again.

    decides: plain values of all that decides a list's value. Nothing is written before there is something to keep, so
    that a setting whose first evaluation fails leaves no trace. Raises PurebenchError if the folder holds another
    setting, naming what differs, or files that are no journal's.
    """

    def __init__(self, folder: Path, decides: Mapping[str, Any]):
        self.folder, self._decides = folder, json.loads(json.dumps(decides))
        place = folder / SETTING
        if folder.exists() and not folder.is_dir():
            raise PurebenchError(f"--out: expected a folder, but {folder} is a file; name another.")
        if not place.is_file():
            return
        stored = _read(place, place.read_text(encoding="utf-8"))
        differ = sorted(key for key in {*stored, *self._decides} if stored.get(key) != self._decides.get(key))
        if differ:
            was = ", ".join(f"{key} was {json.dumps(stored.get(key))}" for key in differ)
            raise PurebenchError(f"--out: {folder} holds a search of another setting ({was}); name another folder.")

    def trials(self, how: str, space: str) -> list[Trial]:
        """The trials of one search so far, in order."""
        rows = _lines(self._trials(how, space))
        return [Trial(**row | {"point": tuple(row["point"]), "alphas": tuple(row["alphas"])}) for row in rows]

    def keep(self, how: str, space: str, trial: Trial) -> None:
        """Adds a trial to its search."""
        self._keep(self._trials(how, space), asdict(trial))

    def searches(self) -> dict[tuple[str, str], list[Trial]]:
        """All searches of the folder, by (how, space)."""
        found = {}
        for path in sorted(self.folder.glob(f"{TRIALS}-*-*.jsonl")):
            _, how, space = path.stem.split("-", 2)
            found[how, space] = self.trials(how, space)
        return found

    def known(self) -> dict[tuple[float, ...], float]:
        """Values of all lists that any search of the folder has asked: they are the same for all."""
        return {trial.alphas: trial.value for trials in self.searches().values() for trial in trials}

    def answer(self, what: str, images: str, alphas: tuple[float, ...]) -> list[str] | None:
        """The draws of a list on other images, as they were kept, or None."""
        for row in _lines(self.folder / FRESH):
            if (row["what"], row["images"], tuple(row["alphas"])) == (what, images, alphas):
                return [str(draws) for draws in row["draws"]]
        return None

    def keep_answer(self, what: str, images: str, alphas: tuple[float, ...], draws: list[str]) -> None:
        """Keeps the draws of a list: what was asked, the hash of the images, a string of 1 and 0 for each."""
        self._keep(self.folder / FRESH, {"what": what, "images": images, "alphas": list(alphas), "draws": draws})

    def _trials(self, how: str, space: str) -> Path:
        return self.folder / f"{TRIALS}-{how}-{space}.jsonl"

    def _keep(self, path: Path, row: Mapping[str, Any]) -> None:
        """Adds a line, and the setting before the first. Raises PurebenchError if the disk will not take it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            place = self.folder / SETTING
            if not place.is_file():
                scratch = place.with_suffix(".part")
                scratch.write_text(json.dumps(self._decides, indent=1) + "\n", encoding="utf-8")
                scratch.replace(place)
            _append(path, row)
        except OSError as error:
            raise PurebenchError(
                f"--out: expected a folder to write to, but {self.folder} is none ({error}); name another."
            ) from error


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds a line; of a last line that a kill cut short the file is shortened first, the others left where they are."""
    if path.is_file() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, none if there is no file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [_read(path, line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _read(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PurebenchError(f"{path}: expected JSON, but {error}; name another folder (--out).") from error
    if not isinstance(found, dict):
        raise PurebenchError(f"{path}: expected a mapping, but got {text[:40]!r}; name another folder (--out).")
    return found
