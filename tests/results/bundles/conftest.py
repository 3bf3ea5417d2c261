"""An honest bundle of the toy board."""

from __future__ import annotations

from pathlib import Path

import pytest
from forged_bundles import toy_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toy")


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return toy_bundle(folder)


@pytest.fixture(scope="module")
def data(path: Path) -> bytes:
    return path.read_bytes()
