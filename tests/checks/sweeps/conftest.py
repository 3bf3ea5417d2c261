"""Each test has a folder of its own with the linear world, as the working directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep_world import write_world  # isort: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board.yaml of the world."""
    monkeypatch.chdir(tmp_path)
    return write_world(tmp_path)
