"""Reads the arguments of the decorators `@listed(…)` from a module's source, without importing the module."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DECORATED = re.compile(r"^@listed\((.*?)\)\n(?:@[^\n]*\n)*(?:class|def) (\w+)", re.MULTILINE | re.DOTALL)
"""The arguments of the decorator, and the name of the class or function below it."""


def listed_arguments(point: EntryPoint) -> tuple[list[Any], dict[str, Any]] | None:
    """Return the arguments of the decorator of what an entry point names.

    Args:
        point: The entry point. Of `a.b:make`, the package a is imported, b is not.

    Returns:
        The positional arguments and those by name; None if there is no decorator.

    Raises:
        ValueError: If the arguments are not literals.
    """
    module, _, name = point.value.partition(":")
    arguments = _decorators(module).get(name)
    if arguments is None:
        return None
    try:
        call = ast.parse(f"listed({arguments})", mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"expected literals, but got listed({arguments})") from error
    if not isinstance(call, ast.Call):
        raise ValueError(f"expected literals, but got listed({arguments})")
    by_name = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    return [ast.literal_eval(value) for value in call.args], by_name


@cache
def _decorators(module: str) -> dict[str, str]:
    """Return the source of the decorators' arguments in a module, by the name of what is decorated."""
    try:
        found = find_spec(module)
        text = Path(str(found and found.origin)).read_text(encoding="utf-8")
    except Exception:  # the parent of a third-party package may raise anything
        return {}
    return {name: arguments for arguments, name in DECORATED.findall(text)}
