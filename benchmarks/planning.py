"""Compares the costs predicted by `purebench plan` with actual ones: `python benchmarks/planning.py`.

Predicts a board (a bundled one, or a board.yaml), runs it with one worker into a store of its own, and compares rows:
forwards, backwards and seconds, predicted over actual. The bars are on the whole board: seconds within --factor (3),
passes within 1.5. Other load on the machine affects the seconds, not the passes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from common.reporting import Column, Report, fixed, parser, perform, progress, text

from purebench.boards.selection import choose
from purebench.core.compute.memory import keep_freed_memory
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.early_checks import check_attacks
from purebench.execution.planning.cost_estimate import forecast


def compare(report: Report, options: argparse.Namespace) -> None:
    """Compare predicted and actual costs row by row."""
    board = choose(options.board, options.defense or ["none", "noise", "mlvgm-cosine"], options.images)
    keep_freed_memory()
    check_attacks(board)
    prices = forecast(prepare(board), options.budget)
    with progress() as bars, tempfile.TemporaryDirectory() as folder:
        bar = bars.add_task("running", total=None)
        _, records = run_board(
            board,
            Path(folder) / "store.sqlite",
            workers=1,
            progress=lambda done, total, record: bars.update(bar, completed=done, total=total),
        )
    images = board.images_of(board.most_blocks)
    rows = []
    for name in [row.name for row in board.defenses]:
        told = [price for price in prices if price.defense == name]
        was = [record for record in records if record.defense == name]
        row: dict[str, object] = {"defense": name}
        for what in ("seconds", "forwards", "backwards"):
            row[what] = images * sum(getattr(price, what) for price in told)
            row[f"actual {what}"] = sum(
                sum(record.seconds.values()) if what == "seconds" else getattr(record, what) for record in was
            )
        rows.append(row)
    columns: list[Column] = [("defense", "defense", text)]
    columns += [(key, key, fixed(0)) for key in rows[0] if key != "defense"]
    report.show(f"{board.name}, {images} images, {options.budget:g} s of probing", rows, columns)
    for what, bar_at in (("seconds", options.factor), ("forwards", 1.5), ("backwards", 1.5)):
        ratio = sum(row[what] for row in rows) / sum(row[f"actual {what}"] for row in rows)  # type: ignore[misc,operator]
        report.told(
            f"{what}: predicted over actual {ratio:.2f}, within {bar_at:g}", ratio, met=1 / bar_at <= ratio <= bar_at
        )


def main(arguments: list[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("--board", default="fashion-quick", help="bundled board or board.yaml (fashion-quick)")
    made.add_argument("--defense", action="append", help="only this row; may be repeated (none, noise, mlvgm-cosine)")
    made.add_argument("--images", type=int, default=12, help="the first so many images (12)")
    made.add_argument("--budget", type=float, default=30.0, help="seconds of the probe (30)")
    made.add_argument("--factor", type=float, default=3.0, help="bar on the seconds (3)")
    options = made.parse_args(arguments)
    return perform("planning", options, lambda report: compare(report, options))


if __name__ == "__main__":
    sys.exit(main())
