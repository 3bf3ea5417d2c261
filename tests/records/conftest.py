"""Fixtures with intact files and copies to be damaged; the mutations are those of the benchmark."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def hostile() -> ModuleType:
    """The module benchmarks/hostile_files.py, which makes the mutations."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("hostile_files")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="session")
def intact(hostile: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An intact board, folder of results and store, which no test changes."""
    return hostile.make_sample(tmp_path_factory.mktemp("intact"))


@pytest.fixture
def sample(hostile: ModuleType, intact: Any, tmp_path: Path) -> Any:
    """A copy of the intact files, to be damaged."""
    return hostile.Sample(Path(shutil.copytree(intact.folder, tmp_path / "sample")))
