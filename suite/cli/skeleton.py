"""A defense or an attack of one's own, as files to begin with: they run, and a test and a board are beside them."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from purebench.core.errors import PurebenchError

SUFFIX = {"defense": "Purifier", "attack": "Attack"}
"""What can be made, and how its class is called behind the name."""


LONGEST = 60
"""Characters of a name, so that the files made of it can be named."""


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Writes NAME.py, its test and a board.yaml into a folder, made if need be; the files' paths in this order.

    Raises PurebenchError for a name that Python cannot use and for a file that is there already; then nothing is
    written.
    """
    _check_name(name)
    words = {
        "name": name,
        "class_name": "".join(part[:1].upper() + part[1:] for part in name.split("_")) + SUFFIX[kind],
        "board": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + "-board",
        "folder": folder.as_posix(),
    }
    if re.search(r"[()\s':]", words["folder"]):
        raise PurebenchError(f"--folder: expected a path without spaces, brackets and colons, but got {str(folder)!r}.")
    source = files("purebench") / "skeletons" / kind
    texts = {
        folder / target: Template((source / template).read_text(encoding="utf-8")).substitute(words)
        for target, template in (
            (f"{name}.py", "own.py.txt"),
            (f"test_{name}.py", "test_own.py.txt"),
            ("board.yaml", "board.yaml.txt"),
        )
    }
    _check_taken(name, texts[folder / f"{name}.py"], texts[folder / "board.yaml"])
    try:
        for path in texts:
            if path.exists():
                raise PurebenchError(f"{path}: expected nothing there, but it exists; choose another name or --folder.")
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PurebenchError(f"{folder}: cannot be written ({error.strerror}); choose another --folder.") from error
    return list(texts)


def _check_name(name: str) -> None:
    """Raises PurebenchError for what is no name in Python, or is one already where the file would hide it."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise PurebenchError(f"new: expected a name in Python, such as my_method, but got {name!r}.")
    if name.startswith("_") or len(name) > LONGEST:
        raise PurebenchError(
            f"new: expected a letter and at most {LONGEST - 1} more characters, such as my_method, but got {name!r}."
        )
    found = find_spec(name)  # a folder of that name has no origin, and is in nobody's way
    if name in dir(builtins) or name in sys.stdlib_module_names or (found is not None and found.origin is not None):
        raise PurebenchError(f"new: expected a new name, but Python or a package has {name!r} already; choose another.")


def _check_taken(name: str, source: str, board: str) -> None:
    """Raises PurebenchError for a name that the file itself, or its board, uses for something else."""
    tree = ast.parse(source)
    used = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    used += [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    used += [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    if name in used or len(re.findall(rf"^  {name}:", board, re.MULTILINE)) != 1:
        raise PurebenchError(f"new: expected a new name, but the files themselves use {name!r}; choose another.")
