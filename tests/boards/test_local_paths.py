"""Tests that Python files named by a board are found next to it, from any working directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.boards.trust import local_files

BOARD = {
    "name": "small",
    "dataset": {"use": "data.py:images", "images": 2, "block": 2},
    "classifier": "own.py:classifier(depth=3)",
    "threat": {"norm": "linf", "radius": "8/255"},
    "attacks": {"clean": {"use": "clean"}, "mine": {"use": "sub/attack.py:mine", "gradient": "bpda"}},
    "defenses": {
        "none": "none",
        "compose": {"compose": {"purifiers": ["own.py:first", "gaussian-blur(sigma=1)"]}},
        "away": "elsewhere.py:mine",
        "weights": {"vae": {"weights": "own.safetensors"}},
    },
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "boards"
    (place / "sub").mkdir(parents=True)
    for name in ("data.py", "own.py", "sub/attack.py", "own.safetensors"):
        (place / name).touch()
    (tmp_path / "elsewhere.py").touch()
    (place / "board.yaml").write_text(yaml.safe_dump(BOARD, sort_keys=False), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return place


def named(board: Board) -> list[str]:
    return [path.as_posix() for path in local_files(board)]


def test_files_are_found_from_another_working_directory(folder: Path) -> None:
    board = load_board(Path("boards/board.yaml"))
    assert board.dataset.use.name == "boards/data.py:images"
    assert str(board.classifier) == "boards/own.py:classifier(depth=3)"
    assert board.attacks[1].use.name == "boards/sub/attack.py:mine"
    assert board.defenses[1].use.params == {"purifiers": ["boards/own.py:first", "gaussian-blur(sigma=1)"]}
    assert board.defenses[2].use.name == "elsewhere.py:mine"
    assert board.defenses[3].use.params == {"weights": "own.safetensors"}
    assert all(Path(path).is_file() for path in named(board))


def test_paths_are_unchanged_in_the_folder_of_the_board(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert load_board(Path("board.yaml")).to_dict()["defenses"] == BOARD["defenses"]
    assert load_board(Path("board.yaml")).dataset.use.name == "data.py:images"


def test_files_next_to_the_board_take_precedence_over_the_working_directory(folder: Path) -> None:
    Path("data.py").touch()
    assert load_board(Path("boards/board.yaml")).dataset.use.name == "boards/data.py:images"
