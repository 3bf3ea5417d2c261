"""Reads the parts of a Python file that affect a result: a hash of its syntax tree, and its imports.

Comments, docstrings and formatting are not part of the tree, so they do not change the hash.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DYNAMIC = ("import_module", "__import__")
"""Functions that import a module given as a string."""
FROM_FILES = ("spec_from_file_location", "SourceFileLoader", "run_path", "run_module")
"""Functions that run a file given by its path, or a module, whose names are not followed."""
NOT_CODE = ("ctx", "kind", "type_comment", "type_ignores")
"""Fields of a syntax tree that follow from other fields, or that the interpreter ignores."""


@dataclass(frozen=True)
class Import:
    """One import statement, or one name of a `from` import.

    Attributes:
        module: the dotted name, empty in `from . import name`.
        level: the number of leading dots.
        name: the name that a `from` import takes from the module, which may be a submodule; empty for `import module`,
            `*` for all names.
    """

    module: str
    level: int = 0
    name: str = ""


@dataclass(frozen=True)
class SourceFile:
    """The parts of a file that affect a result.

    Attributes:
        digest: sha256 of the syntax tree, or of the bytes if the file cannot be parsed, 64 hex digits.
        imports: the imports anywhere in the file, also inside functions, but not below `if TYPE_CHECKING`.
        computed: packages of imported modules whose names are computed, such as `a.b` for
            `import_module(f"a.b.{name}")`; empty where the package is computed as well, or a file is run by its path.
    """

    digest: str
    imports: tuple[Import, ...] = ()
    computed: tuple[str, ...] = ()


def read(path: Path) -> SourceFile:
    """Read a file, or return the cached result if its inode, size and times are unchanged since it was last read.

    Args:
        path: a Python source file, or any other file, which is hashed by its bytes.

    Returns:
        The hash of the file and its imports.

    Raises:
        OSError: the file cannot be read.
    """
    stat = os.stat(path)
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    known = _READ.get(str(path))
    if known is None or known[0] != state:
        content = path.read_bytes()
        known = _READ[str(path)] = (state, parsed(content) if path.suffix == ".py" else _by_bytes(content))
    return known[1]


_READ: dict[str, tuple[tuple[int, ...], SourceFile]] = {}


def parsed(content: bytes) -> SourceFile:
    """Parse the text of a Python file.

    Args:
        content: the bytes of the file.

    Returns:
        The hash of its syntax tree and its imports; if the file cannot be parsed, the hash of its bytes and no imports.
    """
    try:
        tree = ast.parse(content)
        reader = _Reader()
        reader.add(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _by_bytes(content)
    digest = hashlib.sha256("\0".join(reader.parts).encode("utf-8", "surrogatepass")).hexdigest()
    return SourceFile(digest, tuple(dict.fromkeys(reader.imports)), tuple(reader.computed))


def _by_bytes(content: bytes) -> SourceFile:
    return SourceFile(hashlib.sha256(content).hexdigest())


class _Reader:
    """Walks a syntax tree once; `parts` describe the tree without empty fields, so that Python versions agree."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.imports: list[Import] = []
        self.computed: list[str] = []
        self.typing = 0

    def add(self, node: ast.AST) -> None:
        """Add a node and all nodes below it."""
        parts, kind = self.parts, type(node)
        if kind is ast.Name:  # more than half of all nodes are names and constants
            parts += ("Name", node.id)  # type: ignore[attr-defined]
            return
        if kind is ast.Constant:
            parts += ("Constant", repr(node.value))  # type: ignore[attr-defined]
            return
        parts.append(kind.__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or name in NOT_CODE:
                continue
            if isinstance(value, list):
                if value:
                    parts.append(name)
                    self._list(node, name, value)
            elif isinstance(value, ast.AST):
                parts.append(name)
                self.add(value)
            else:
                parts += (name, repr(value))
        parts.append(")")
        if kind in (ast.Import, ast.ImportFrom, ast.Call) and not self.typing:
            self.imports += self._of(node)

    def _list(self, node: ast.AST, name: str, values: list[object]) -> None:
        skipped = name == "body" and isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING"
        self.typing += skipped
        for value in values:
            if not isinstance(value, ast.AST):
                self.parts.append(repr(value))  # None for `**` in a dictionary, or a name
            elif not (isinstance(value, ast.Expr) and isinstance(value.value, ast.Constant)):  # has no effect
                self.add(value)
        self.parts.append("]")
        self.typing -= skipped

    def _of(self, node: ast.AST) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(node.module or "", node.level, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node.func) in FROM_FILES:
            self.computed.append("")
        elif isinstance(node, ast.Call) and _called(node.func) in DYNAMIC:
            target = next(
                (each for each in (*node.args[:1], *(word.value for word in node.keywords if word.arg == "name"))), None
            )
            if isinstance(target, ast.Constant) and isinstance(target.value, str):
                module = target.value.lstrip(".")
                yield Import(module, len(target.value) - len(module))
            elif target is not None:
                start = target.values[0] if isinstance(target, ast.JoinedStr) and target.values else None
                written = str(start.value) if isinstance(start, ast.Constant) else ""
                self.computed.append("" if written.startswith(".") else written.rpartition(".")[0])


def _called(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
