"""Tests that the files and modules which docstrings and comments refer to exist."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"": ROOT / "suite", **{name: ROOT / name for name in ("attacks", "defenses", "leaderboards")}}
"""The folders of code, by the part of the package that each is."""
PATHS = {
    path.relative_to(ROOT).as_posix()
    for place in (*FOLDERS.values(), ROOT / "tests", ROOT / "benchmarks")
    for path in place.rglob("*.py")
}
PACKAGES = "core|statistics|execution|results|records|boards|checks|latents|testing|integrations|cli|attacks|defenses"
FILE = re.compile(r"(?<![\w./:-])((?:[a-z_]\w*/)+\w+\.py)\b")
MODULE = re.compile(rf"`(?:purebench\.)?((?:{PACKAGES}|leaderboards)(?:\.\w+)+)`")
EXAMPLES = ("path/to/file.py", "purebench/")
"""Beginnings of paths of a user's files."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yields line and text of every docstring and comment of a file."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def defined(path: Path) -> set[str]:
    """Returns the names that a module defines or imports, at its top and inside of its classes and functions."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {
        alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def exists(dotted: str) -> bool:
    """Returns whether a dotted name is a module or package of purebench, or a name that one of them defines."""
    parts = dotted.split(".")
    for known in range(len(parts), 0, -1):
        top, *inner = parts[:known]
        place = (FOLDERS[top] if top in FOLDERS else ROOT / "suite" / top).joinpath(*inner)
        file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if not file.is_file():
            continue
        return set(parts[known:]) <= defined(file)
    return False


def missing(path: Path) -> list[str]:
    """Returns the references of a file that lead nowhere, with their lines."""
    found = []
    for line, text in prose(path):
        files = [name for name in FILE.findall(text) if not name.startswith(EXAMPLES)]
        found += [f"{line}: {name}" for name in files if not any(f"/{known}".endswith(f"/{name}") for known in PATHS)]
        found += [f"{line}: {name}" for name in MODULE.findall(text) if not exists(name)]
    return found


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_files_and_modules_named_in_docstrings_and_comments_exist(folder: str) -> None:
    wrong = {path.relative_to(ROOT).as_posix(): missing(path) for path in sorted(FOLDERS[folder].rglob("*.py"))}
    assert {path: lines for path, lines in wrong.items() if lines} == {}


@pytest.mark.parametrize(
    "text", ["core/norms.py", "`core.memory`", "`statistics.halving`", "`execution.worst_case_job`"]
)
def test_a_reference_to_a_module_that_moved_is_reported(text: str, tmp_path: Path) -> None:
    file = tmp_path / "moved.py"
    file.write_text(f'"""See {text}."""\n', encoding="utf-8")
    assert missing(file) == [f"1: {text.strip('`')}"]
