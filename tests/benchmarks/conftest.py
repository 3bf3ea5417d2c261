"""Puts the folder of the benchmarks, which are scripts and not a package, on the path."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """script(name): imports a module of benchmarks/."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module
