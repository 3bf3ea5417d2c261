"""The benchmarks are scripts beside each other, not a package: their folder is put on the path."""

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """script(name): a module of benchmarks/."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module
