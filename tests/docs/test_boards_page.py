"""Tests that the table of the bundled boards in docs/boards.md is that of the boards and their committed results."""

from __future__ import annotations

from pathlib import Path

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.results.files.export import load_results

FILES = {"cifar10-small": "models in the package, images to be downloaded"}
"""The places of the models and images of boards that have them at different places."""
PAGE = Path(__file__).resolve().parents[2] / "docs" / "boards.md"


def line(name: str, path: Path) -> str:
    """Return the line of a board in the table."""
    board = load_board(path)
    folder = path.parent / "results"
    found = load_results(folder) if folder.is_dir() else []
    done = f"{len(found)} rows, {len(found[0].images)} images" if found else "–"
    files = FILES.get(name, "in the package" if name.startswith("fashion-") else "to be downloaded")
    attacks = sum(attack.name != "clean" and attack.only != "source" for attack in board.attacks)
    counts = f"{len(board.defenses)} | {attacks} | {board.dataset.images:,}"
    return f"| `{name}` | {board.title} | {counts} | {files} | {done} |"


def test_the_table_of_boards_is_that_of_the_bundled_boards() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "\n".join(line(*board) for board in sorted(bundled().items())) in page
