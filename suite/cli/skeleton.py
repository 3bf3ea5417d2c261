"""Writes a runnable skeleton of a defense, an attack or a data set, with a test and a board; or a copy of a board."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

import yaml

from purebench.boards.bundled import bundled
from purebench.boards.json_schema import FILE_NAME, board_json_schema
from purebench.core.errors import PurebenchError, did_you_mean

SUFFIX = {"defense": "Purifier", "attack": "Attack", "dataset": ""}
"""Kinds of skeletons, and the suffix of their class names."""


LONGEST = 60
"""Largest number of characters of a name, so that the files can be named after it."""


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Write NAME.py, its test, the JSON schema of boards and a board.yaml into a folder, which is made if needed.

    Args:
        kind: "defense", "attack" or "dataset".
        name: Name of the defense, attack or data set in Python.
        folder: The folder.

    Returns:
        The paths of the four files, in this order.

    Raises:
        PurebenchError: For a name that Python cannot use and for a file that exists already; then nothing is written.
    """
    _check_name(name)
    words = {
        "name": name,
        "class_name": "".join(part[:1].upper() + part[1:] for part in name.split("_")) + SUFFIX[kind],
        "board": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + "-board",
        "folder": folder.as_posix(),
    }
    if re.search(r"[()\s':]", words["folder"]):
        raise PurebenchError(
            f"--folder: expected a path without spaces, brackets and colons, but got {str(folder)!r}; choose another."
        )
    source = files("purebench.cli") / "skeletons" / kind

    def filled(template: str) -> str:
        return Template((source / template).read_text(encoding="utf-8")).substitute(words)

    texts = {
        folder / f"{name}.py": filled("own.py.txt"),
        folder / f"test_{name}.py": filled("test_own.py.txt"),
        folder / FILE_NAME: board_json_schema(),
        folder / "board.yaml": filled("board.yaml.txt"),
    }
    _check_taken(name, texts[folder / f"{name}.py"], "" if kind == "dataset" else texts[folder / "board.yaml"])
    return _written(folder, texts)


def write_board(name: str, source: str, folder: Path) -> list[Path]:
    """Write the JSON schema of boards and a copy of a bundled board under another name into a folder.

    Args:
        name: Name of the copy: lower-case letters, digits and hyphens.
        source: Name of the bundled board.
        folder: The folder, which is made if needed.

    Returns:
        The paths of the two files, in this order.

    Raises:
        PurebenchError: For an unknown board, for the name of a bundled one, for an invalid name, and for a file that
            exists already; then nothing is written.
    """
    boards = bundled()
    if source not in boards:
        raise PurebenchError(f"--from: {source!r} is unknown; {did_you_mean(source, boards)}")
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) or name in boards:
        raise PurebenchError(
            "new: expected a name of lower-case letters, digits and hyphens that no bundled board has, such as mine, "
            f"but got {name!r}."
        )
    written = name if yaml.safe_load(name) == name else f'"{name}"'  # null, true and 123 are no texts in YAML
    text = boards[source].read_text(encoding="utf-8").replace(f"$schema=../{FILE_NAME}", f"$schema={FILE_NAME}")
    copy = re.sub(r"^name: .*$", f"name: {written}", text, count=1, flags=re.MULTILINE)
    return _written(folder, {folder / FILE_NAME: board_json_schema(), folder / "board.yaml": copy})


def _written(folder: Path, texts: Mapping[Path, str]) -> list[Path]:
    """Write texts into new files, and return their paths.

    Raises:
        PurebenchError: If one exists already, before any is written, or the folder cannot be written.
    """
    try:
        for path in texts:
            if path.exists():
                raise PurebenchError(
                    f"{path}: expected no file of this name, but it exists; choose another name or --folder."
                )
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PurebenchError(f"{folder}: cannot be written ({error.strerror}); choose another --folder.") from error
    return list(texts)


def _check_name(name: str) -> None:
    """Raise PurebenchError for an invalid Python name, or one that the new file would shadow."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise PurebenchError(f"new: expected a valid Python name, such as my_method, but got {name!r}.")
    if name.startswith("_") or len(name) > LONGEST:
        raise PurebenchError(
            f"new: expected a letter and at most {LONGEST - 1} more characters, such as my_method, but got {name!r}."
        )
    found = find_spec(name)  # a plain folder of that name has no origin and does no harm
    if name in dir(builtins) or name in sys.stdlib_module_names or (found is not None and found.origin is not None):
        raise PurebenchError(
            f"new: expected an unused name, but {name!r} is a name of Python or of an installed package; choose "
            "another."
        )


def _check_taken(name: str, source: str, board: str) -> None:
    """Raise PurebenchError for a name that the file itself, or its board, uses for something else.

    Args:
        name: The name.
        source: The text of the file.
        board: The text of the board; empty if the name is not used for a row or an attack.
    """
    tree = ast.parse(source)
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    used += [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    used += [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    twice = functions.count(name) > 1 or (board and len(re.findall(rf"^  {name}:", board, re.MULTILINE)) != 1)
    if name in used or twice:
        raise PurebenchError(
            f"new: expected an unused name, but the written files themselves use {name!r}; choose another."
        )
