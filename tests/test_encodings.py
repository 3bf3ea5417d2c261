"""Tests that all text files are read and written as UTF-8, independently of the locale."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOT_FILES = {"Image", "tarfile", "zipfile", "gzip", "os", "nearest"}
"""Names whose method `open` does not open a text file."""


def files() -> list[Path]:
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "*.py"], capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def without_encoding(text: str) -> list[int]:
    """Returns the line numbers of calls of read_text, write_text and open in text mode without an encoding."""
    if not any(name in text for name in ("read_text", "write_text", "open(")):
        return []
    return [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and is_bare(node)]


def is_bare(call: ast.Call) -> bool:
    if any(keyword.arg in ("encoding", None) for keyword in call.keywords):
        return False
    match call.func:
        case ast.Attribute(attr="read_text"):
            return not call.args
        case ast.Attribute(attr="write_text"):
            return len(call.args) < 2
        case ast.Name(id="open"):
            return is_text(call, 1)
        case ast.Attribute(attr="open", value=value):
            return not (isinstance(value, ast.Name) and value.id in NOT_FILES) and is_text(call, 0)
    return False


def is_text(call: ast.Call, place: int) -> bool:
    """Returns whether a call of open is in text mode, the default; place: the position of the argument `mode`."""
    if len(call.args) > place:
        mode: ast.expr | None = call.args[place]
    else:
        mode = next((keyword.value for keyword in call.keywords if keyword.arg == "mode"), None)
    if mode is None:
        return True
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) <= set("rwaxt+")


def test_every_text_file_is_opened_as_utf_8() -> None:
    texts = {path: path.read_text("utf-8") for path in files()}
    found = [f"{path.relative_to(ROOT)}:{line}" for path, text in texts.items() for line in without_encoding(text)]
    assert found == []


@pytest.mark.parametrize(
    ("call", "bare"),
    [
        ("p.read_text()", True),
        ("p.read_text(encoding='utf-8')", False),
        ("p.write_text(t)", True),
        ("p.write_text(t, 'utf-8')", False),
        ("open(p)", True),
        ("open(p, 'rb')", False),
        ("open(p, 'w', encoding='utf-8')", False),
        ("p.open('a')", True),
        ("p.open(mode='rb')", False),
        ("Image.open(p)", False),
    ],
)
def test_calls_without_an_encoding_are_found(call: str, bare: bool) -> None:
    assert bool(without_encoding(call)) == bare
