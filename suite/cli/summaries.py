"""Reads the one-line summary of an entry point from its source, without importing it."""

from __future__ import annotations

import ast
from functools import cache
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path


def summary(point: EntryPoint) -> str:
    """Return the first line of the factory's docstring, read from the source without import; empty if there is none."""
    module, _, name = point.value.partition(":")
    told = _summaries(module)
    return told.get(name, told.get("", ""))


@cache
def _summaries(module: str) -> dict[str, str]:
    """Return first lines of the docstrings of a module's functions and classes, by name; the module's own under ""."""
    try:
        found = find_spec(module)
        tree = ast.parse(Path(str(found and found.origin)).read_text(encoding="utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError):
        return {}
    named = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name: (ast.get_docstring(node) or "").partition("\n")[0] for name, node in {"": tree, **named}.items()}
