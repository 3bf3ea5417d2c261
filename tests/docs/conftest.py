"""Puts this folder on the path, so that its tests can import blocks.py and shell.py; fixtures of docs/findings.md."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def findings() -> ModuleType:
    """Return tools/findings.py."""
    spec = importlib.util.spec_from_file_location("findings", ROOT / "tools" / "findings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def findings_text(findings: ModuleType) -> str:
    """Return docs/findings.md with single spaces."""
    return " ".join(findings.PAGE.read_text(encoding="utf-8").split())
