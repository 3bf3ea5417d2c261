"""Keeps a search on disk: its setting, and a line for each evaluation as it ends, so that an interrupted one continues.

The files are lines of JSON rather than a study's database: they hold all that a proposal depends on, and are readable
without a library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.latents.tuning.trial import Trial

SETTING, TRIALS, FRESH = "setting.json", "trials", "fresh.jsonl"


class Journal:
    """The folder of one setting.

    It holds trials-HOW-SPACE.jsonl for each search, and fresh.jsonl for the evaluations on fresh images. Nothing is
    written before there is something to keep, so that a setting whose first evaluation fails leaves no files.

    Args:
        folder: The folder, which need not exist.
        decides: Plain values of everything that decides a list's value.

    Raises:
        PurebenchError: If the folder holds another setting (the message names the difference), or other files.
    """

    def __init__(self, folder: Path, decides: Mapping[str, Any]):
        self.folder, self._decides = folder, json.loads(json.dumps(decides))
        place = folder / SETTING
        if folder.exists() and not folder.is_dir():
            raise PurebenchError(f"--out: expected a folder, but {folder} is a file; choose another.")
        if not place.is_file():
            return
        stored = _read(place, place.read_text(encoding="utf-8"))
        differ = sorted(key for key in {*stored, *self._decides} if stored.get(key) != self._decides.get(key))
        if differ:
            was = ", ".join(f"{key} was {json.dumps(stored.get(key))}" for key in differ)
            raise PurebenchError(
                f"--out: expected a search with the same settings in {folder}, but they differ ({was}); choose "
                "another folder."
            )

    def trials(self, how: str, space: str) -> list[Trial]:
        """Return the trials of one search so far, in order.

        Args:
            how: Name in PROPOSERS.
            space: Name in SPACES.

        Returns:
            The trials.
        """
        rows = _lines(self._trials(how, space))
        return [Trial(**row | {"point": tuple(row["point"]), "alphas": tuple(row["alphas"])}) for row in rows]

    def keep(self, how: str, space: str, trial: Trial) -> None:
        """Add a trial to its search.

        Args:
            how: Name in PROPOSERS.
            space: Name in SPACES.
            trial: The trial.
        """
        self._keep(self._trials(how, space), asdict(trial))

    def searches(self) -> dict[tuple[str, str], list[Trial]]:
        """Return all searches of the folder, by (how, space)."""
        found = {}
        for path in sorted(self.folder.glob(f"{TRIALS}-*-*.jsonl")):
            _, how, space = path.stem.split("-", 2)
            found[how, space] = self.trials(how, space)
        return found

    def known(self) -> dict[tuple[float, ...], float]:
        """Return the values of all lists that any search of the folder evaluated: they are the same for all."""
        return {trial.alphas: trial.value for trials in self.searches().values() for trial in trials}

    def answer(self, what: str, images: str, alphas: tuple[float, ...]) -> list[str] | None:
        """Return the stored draws of a list on other images, or None.

        Args:
            what: `attacked` or `clean`.
            images: Hash of the images.
            alphas: The list.

        Returns:
            A string for each image with 1 or 0 for each draw, or None.
        """
        for row in _lines(self.folder / FRESH):
            if (row["what"], row["images"], tuple(row["alphas"])) == (what, images, alphas):
                return [str(draws) for draws in row["draws"]]
        return None

    def keep_answer(self, what: str, images: str, alphas: tuple[float, ...], draws: list[str]) -> None:
        """Store the draws of a list.

        Args:
            what: `attacked` or `clean`.
            images: Hash of the images.
            alphas: The list.
            draws: A string for each image with 1 (right) or 0 for each draw.
        """
        self._keep(self.folder / FRESH, {"what": what, "images": images, "alphas": list(alphas), "draws": draws})

    def _trials(self, how: str, space: str) -> Path:
        return self.folder / f"{TRIALS}-{how}-{space}.jsonl"

    def _keep(self, path: Path, row: Mapping[str, Any]) -> None:
        """Add a line, and the setting before the first. Raise PurebenchError if the file cannot be written."""
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
                f"--out: expected a writable folder, but {self.folder} is not writable ({error}); choose another."
            ) from error


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line; a last line that is incomplete is removed first, and the other lines are left unchanged."""
    if path.is_file() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a file, none if there is no file."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return [_read(path, line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _read(path: Path, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PurebenchError(f"{path}: expected JSON, but {error}; choose another folder (--out).") from error
    if not isinstance(found, dict):
        raise PurebenchError(f"{path}: expected a mapping, but got {text[:40]!r}; choose another folder (--out).")
    return found
