"""The linear world in a folder of its own, and a sweep over it."""

from __future__ import annotations

from pathlib import Path

import pytest

from purebench.checks.sweeps.outcome import SweepOutcome

from sweep_world import TEXT, swept, write_world  # isort: skip


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The board.yaml of the world."""
    monkeypatch.chdir(tmp_path)
    return write_world(tmp_path)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> SweepOutcome:
    """A sweep over four strengths and two further radii."""
    folder = tmp_path_factory.mktemp("world")
    text = TEXT.replace("own.py", f"{folder}/own.py")
    return swept(write_world(folder), text, radii=("0.02", "0.3"), largest_clean_loss=0.25)
