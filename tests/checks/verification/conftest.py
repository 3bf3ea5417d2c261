"""Honest bundles of small boards."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards import write_board
from forged_bundles import toy_bundle
from toy_verification import STRONG, WEAK, attacks

from purebench.boards.parse import load_board
from purebench.execution.board_run import run_board
from purebench.results.files.bundles.writing import make_bundle


@pytest.fixture(scope="module")
def strong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("strong"), attacks=attacks(STRONG))


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("weak"), attacks=attacks(WEAK))


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a random defense on real images."""
    folder = tmp_path_factory.mktemp("noisy")
    board = {"attacks": attacks({"use": "pgd(steps=3)", "gradient": "exact"}), "verify": {"draws": 6, "fresh": 8}}
    board |= {"defenses": {"noise": "gaussian-noise(sigma=0.2)"}, "threat": {"norm": "linf", "radius": "4/255"}}
    path = write_board(folder, images=100, block=50, **board)
    run_board(load_board(path), folder / "store.sqlite", workers=1)
    (folder / "noise.zip").write_bytes(make_bundle(folder / "store.sqlite", "small", "noise"))
    return folder / "noise.zip"
