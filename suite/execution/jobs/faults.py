"""Formats an exception as the reason of a record: its type, its message, and its place in the user's code."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

import purebench
from purebench.core.answers import DefenseFault
from purebench.core.errors import PurebenchError
from purebench.core.source.distributions import is_library
from purebench.execution.jobs.threat_check import Violation

LONGEST = 500
OWN = (PurebenchError, DefenseFault, Violation)
"""Errors whose messages are sentences of this package."""


def explain(error: BaseException) -> str:
    """Format an exception in one line: `RuntimeError: no answer today (mine.py:12)`.

    Errors of this package are sentences, and are given without their type.

    The place is the innermost frame outside of this package, of Python and of installed packages, if there is one; else
    the innermost frame of an installed package other than torch.
    """
    kind = "" if isinstance(error, OWN) and str(error) else f"{type(error).__name__}: "
    told = " ".join(f"{kind}{error}".split())[:LONGEST]
    place = _place(error)
    return f"{told} ({place})" if place else told


def _place(error: BaseException) -> str:
    here = [str(Path(folder).resolve()) for folder in purebench.__path__]
    here += [str(Path(folder).resolve()) for part in ("attacks", "defenses") for folder in _folders(part)]
    installed = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        name = frame.filename
        if name.startswith("<") or str(Path(name).resolve()).startswith(tuple(here)):
            continue
        if not is_library(name):
            return f"{_short(name)}:{frame.lineno}"
        if not name.startswith(str(Path(torch.__file__).parent)):
            installed = installed or f"{_short(name)}:{frame.lineno}"
    return installed


def _folders(part: str) -> list[str]:
    import importlib

    return list(importlib.import_module(f"purebench.{part}").__path__)


def _short(name: str) -> str:
    """Return the path relative to the working directory if the file is below it; else its last two parts."""
    path = Path(name).resolve()
    return str(path.relative_to(Path.cwd())) if Path.cwd() in path.parents else "/".join(path.parts[-2:])
