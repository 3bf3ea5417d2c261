"""Measures the spread of robust accuracy between attack seeds: one row of a board is run with other seeds of the board.

    python benchmarks/seeds.py --board fashion-families --defense mlvgm-cosine --seeds 5

Images, model and attacks stay the same; all random numbers of attack and verification differ. The interval of a
row is about other images and does not include this spread. Started again, the benchmark resumes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from purebench.boards.selection import choose
from purebench.execution.board_run import run_board
from purebench.execution.progress.terminal import run_progress
from purebench.results.merge import merge


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="fashion-families", help="a bundled board, or the path of a board.yaml")
    parser.add_argument("--defense", default="mlvgm-cosine", help="a row of the board, or a spec")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, …, at least 2")
    parser.add_argument("--images", type=int, default=None, help="only the first so many images")
    parser.add_argument("--store", type=Path, default=Path(".purebench/seeds.sqlite"), help="where the records go")
    parser.add_argument("--workers", type=int, default=None, help="processes")
    given = parser.parse_args(arguments)
    if given.seeds < 2:
        parser.error(f"--seeds: expected at least 2, but got {given.seeds}.")
    board = choose(given.board, [given.defense], given.images)
    found = []
    for seed in range(given.seeds):
        with run_progress() as tell:
            one = replace(board, seed=seed)
            store = given.store.with_stem(f"{given.store.stem}-{seed}")
            context, records = run_board(one, store, workers=given.workers, progress=tell)
        (result,) = merge(context.board, records)
        assert result.robust is not None
        found.append(result.robust.value)
        print(f"seed {seed}: {result.robust.percent()}", flush=True)
    deviation = np.std(found, ddof=1)
    mean = f"mean {100 * np.mean(found):.1f} %, standard deviation {100 * deviation:.1f} points"
    print(f"{given.defense} on {board.name}, {given.seeds} seeds: {mean}")


if __name__ == "__main__":
    main()
