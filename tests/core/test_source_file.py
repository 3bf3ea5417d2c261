"""Tests that the hash of a file is that of its syntax tree and that all of its imports are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from purebench.core.source.source_file import Import, parsed, read

CODE = """
def f(x, *, a=1):
    return {"a": [x, a, None], **x}

class C(B, key=1):
    y: int = 0
"""


def digest(text: str) -> str:
    return parsed(text.encode()).digest


@pytest.mark.parametrize(
    "other",
    [
        "# a comment\n" + CODE,
        '"""A docstring."""\n' + CODE,
        CODE.replace("    return", '    """Of a function."""\n    return'),
        CODE.replace("    y: int", '    """Of a class."""\n    y: int').replace("= 0", '= 0\n    """Of a field."""'),
        CODE.replace('"a": [x, a, None]', "'a': [\n        x,\n        a,\n        None,\n    ]"),
        CODE.replace("return {", "return ({").replace("}", "})"),
        "\ufeff" + CODE,
    ],
    ids=["comment", "docstring", "function docstring", "class docstring", "format", "brackets", "byte order mark"],
)
def test_comments_docstrings_and_formatting_do_not_change_the_hash(other: str) -> None:
    assert other != CODE
    assert digest(other) == digest(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a=1", "a=2"),
        ("a=1", "a=1.0"),
        ("a=1", "a=True"),
        ("a=1", "a=None"),
        ("*, a", "a"),
        ('"a"', 'b"a"'),
        ("[x, a, None]", "[x, None, a]"),
        ("[x, a, None]", "(x, a, None)"),
        ("[x, a, None]", "[x], a, None"),
        ("**x", "x: None"),
        ("(B, key=1)", "(key=1)"),
        ("key=1", "kex=1"),
        ("y: int", "y: float"),
        ("def f", "async def f"),
        ("return", "yield"),
    ],
)
def test_every_change_of_code_changes_the_hash(old: str, new: str) -> None:
    assert digest(CODE.replace(old, new)) != digest(CODE)


def test_different_programs_have_different_hashes() -> None:
    """Programs of similar structure that an ambiguous serialisation would confuse."""
    texts = ["x", "'x'", "x.y", "x()", "x[y]", "-x", "not x", "f(x, y)", "f(x)(y)", "f((x, y))", "f(x=y)", "f(*x)"]
    texts += [
        "a + b * c",
        "(a + b) * c",
        "a < b < c",
        "(a < b) < c",
        "lambda: x",
        "lambda x: x",
        "[x]",
        "{x}",
    ]
    texts += ["{x: y}", "if a:\n b()\nelse:\n c()", "if a:\n b()\nc()", "if a:\n b()\n c()", "while b:\n c()"]
    texts += [
        "import a",
        "from a import b",
        "from .a import b",
        "from . import a",
        "import a as b",
        "global a",
        "del a",
    ]
    assert len({digest(text) for text in texts}) == len(texts)


def test_files_that_cannot_be_parsed_are_hashed_by_their_bytes() -> None:
    assert digest("a b") != digest("a b #")
    assert parsed(b"a b").imports == ()
    assert digest("x = " + "(" * 5000) != digest("x = " + "[" * 5000)


def test_imports_are_found_at_every_position() -> None:
    found = parsed(
        b"""
import a, b.c as d
from e import f
from .. import g
from .h import *
if TYPE_CHECKING:
    import never
else:
    import i
if typing.TYPE_CHECKING:
    import never
def late():
    try:
        import j
    except ImportError:
        importlib.import_module("k.l")
    import_module(".m", __package__)
    __import__("n")
    import_module(name="o")
"""
    )
    assert found.imports == (
        *(Import("a"), Import("b.c"), Import("e", 0, "f"), Import("", 2, "g"), Import("h", 1, "*"), Import("i")),
        *(Import("j"), Import("k.l"), Import("m", 1), Import("n"), Import("o")),
    )
    assert found.computed == ()
    assert parsed(b'import_module(f"a.b.{c}"); import_module(f"{c}"); import_module(c)').computed == ("a.b", "", "")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """Even if its size and modification time are unchanged."""
    file = tmp_path / "a.py"
    file.write_text("x = 1\n", encoding="utf-8")
    before, stat = read(file), file.stat()
    assert read(file) is before
    file.write_text("x = 2\n", encoding="utf-8")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert read(file) != before
