"""A board of two rows on Fashion-MNIST, its results, and the bundles of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from boards import write_board

from purebench.boards.parse import load_board
from purebench.execution.board_run import run_board
from purebench.results.files.bundles.writing import make_bundle
from purebench.results.files.export import export_results
from purebench.results.files.stored_board import from_store
from purebench.results.merge import merge


class Pictured(NamedTuple):
    """Folder of the results, and the bundle of each row."""

    results: Path
    bundles: dict[str, Path]


def pictured_board(folder: Path, images: int = 10, block: int = 4) -> Pictured:
    """Runs a small board in a folder, exports its results, and writes the bundles of its rows."""
    rows = {"none": "none", "blur": "gaussian-blur"}
    attacks = {"clean": {"use": "clean"}, "pgd": {"use": "pgd(steps=2)", "gradient": "exact"}}
    board = load_board(write_board(folder, images=images, block=block, defenses=rows, attacks=attacks))
    store = folder / "store.sqlite"
    run_board(board, store, workers=1)
    export_results(folder / "results", merge(*from_store(store, board.name)))
    bundles = {}
    for row in rows:
        bundles[row] = folder / "bundles" / f"{row}.zip"
        bundles[row].parent.mkdir(exist_ok=True)
        bundles[row].write_bytes(make_bundle(store, board.name, row))
    return Pictured(folder / "results", bundles)
