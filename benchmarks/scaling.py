"""Measures how runs scale with workers: `python benchmarks/scaling.py speedup`, and `… limits`.

`speedup` runs a board of equal jobs with one worker and with --workers, and compares the times after the workers have
started. The overhead of a job is the time of the workers beyond the time of the jobs: queue, transfer and store.
`limits` simulates a board on many workers from the recorded times of its results (timings.json), and says what limits
it. Other load on the machine affects the measured seconds; the bars are meant for an idle machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from common.reporting import Column, Report, fixed, parser, perform, text

from purebench.boards.board import AttackChoice, Board, DatasetChoice, DefenseChoice
from purebench.boards.bundled import bundled
from purebench.boards.selection import choose
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_board
from purebench.execution.planning.makespan import Task, simulate
from purebench.records.outcome import WORST_CASE
from purebench.records.record import Record
from purebench.results.files.export import load_results
from purebench.results.results import DefenseResult

SAVING = 0.005
"""Seconds in which the process that sends jobs and saves records handles one, for the simulation."""


def equal_jobs(options: argparse.Namespace) -> Board:
    """Return a board on which all attack jobs take the same time: blocks of equal size, one attack, one row."""
    return Board(
        name="equal-jobs",
        title="Equal jobs",
        about="",
        dataset=DatasetChoice(Spec("fashion-mnist"), options.jobs * options.block, options.block),
        classifier=Spec("fashion-resnet"),
        threat=ThreatModel("linf", 8 / 255),
        attacks=(AttackChoice("square", Spec("square", {"queries": options.queries})),),
        defenses=(DefenseChoice("none", Spec("none")),),
    )


def speedup(report: Report, options: argparse.Namespace) -> None:
    """Compare the time of the same board with one worker and with several."""
    board, rows = equal_jobs(options), []
    for workers in (1, options.workers):
        ends: list[tuple[float, float]] = []

        def note(done: int, total: int, record: Record | None, ends: list[tuple[float, float]] = ends) -> None:
            if record is not None:
                ends.append((time.perf_counter(), record.wall_time))

        with tempfile.TemporaryDirectory() as folder:
            run_board(
                board, Path(folder) / "s.sqlite", compute=Compute(workers=workers, backend="processes"), progress=note
            )
        skipped = 2 * workers  # the workers start at different times
        seconds = ends[-1][0] - ends[skipped - 1][0]
        jobs, busy = len(ends) - skipped, sum(taken for _, taken in ends[skipped:])
        overhead = 1000 * (workers * seconds - busy) / jobs
        rows.append(
            {"workers": str(workers), "jobs": jobs, "seconds": seconds, "rate": jobs / seconds, "overhead": overhead}
        )
    columns: list[Column] = [
        ("workers", "workers", text),
        ("jobs", "jobs", fixed(0)),
        ("seconds", "seconds", fixed(2)),
        ("rate", "jobs/s", fixed(2)),
        ("overhead", "overhead per job in ms", fixed(1)),
    ]
    report.show(f"{options.jobs} blocks of {options.block} images, {options.queries} queries", rows, columns)
    ratio, overhead = float(str(rows[1]["rate"])) / float(str(rows[0]["rate"])), float(str(rows[0]["overhead"]))
    least = options.least * options.workers / 2
    report.told(f"{options.workers} workers over one: {ratio:.2f} (at least {least:.2f})", ratio, met=ratio >= least)
    report.at_most("overhead per job in ms, one worker", overhead, options.most_overhead)


def recorded(board: Board, results: list[DefenseResult]) -> list[Task]:
    """Return the jobs of a board with their recorded times, of the rows that have results.

    Args:
        board: the board; it may have more images than the results.
        results: the results with their times.
    """
    per_image = {
        (result.name, attack): sum(phases.values()) / len(result.images)
        for result in results
        for attack, phases in result.seconds.items()
    }
    sources = {attack.name: attack.source for attack in board.attacks}
    tasks = []
    for block in range(board.most_blocks):
        images = board.images_of(block + 1) - board.images_of(block)
        for result in results:
            names = [attack for attack in sources if (result.name, attack) in per_image]
            for attack in names:
                source = sources[attack]
                needs = [] if source is None else [f"{source.defense}/{source.attack}/{block}"]
                tasks.append(Task(f"{result.name}/{attack}/{block}", images * per_image[result.name, attack], needs))
            needs = [f"{result.name}/{attack}/{block}" for attack in names]
            worst = images * per_image.get((result.name, WORST_CASE), 0.0)
            tasks.append(Task(f"{result.name}/{WORST_CASE}/{block}", worst, needs))
    return tasks


def limits(report: Report, options: argparse.Namespace) -> None:
    """Simulate a board on many workers from recorded times."""
    board = choose(options.board, None, options.images)
    folder = options.results or bundled()[options.board].parent / "results"
    tasks = recorded(board, load_results(folder))
    rows: list[dict[str, object]] = []
    for workers in (1, 2, 8, 64):
        run = simulate(tasks, workers, startup=options.startup if workers > 1 else 0.0, saving=SAVING)
        rows.append({"workers": str(workers), "hours": run.seconds / 3600, "speedup": run.speedup, "limit": run.limit})
    columns: list[Column] = [
        ("workers", "workers", text),
        ("hours", "hours", fixed(2)),
        ("speedup", "speed-up", fixed(2)),
        ("limit", "limited by", text),
    ]
    longest = max(task.seconds for task in tasks)
    report.show(f"{board.name}: {len(tasks)} jobs, the longest of {longest:.0f} s", rows, columns)


def main(arguments: list[str] | None = None) -> int:
    """Run the part that the command line names."""
    flags = parser(__doc__)
    flags.add_argument("part", choices=("speedup", "limits"))
    flags.add_argument("--jobs", type=int, default=60, help="blocks of the board of equal jobs (60)")
    flags.add_argument("--block", type=int, default=16, help="images per block (16)")
    flags.add_argument("--queries", type=int, default=60, help="queries of the attack (60)")
    flags.add_argument("--workers", type=int, default=2, help="workers that are compared with one (2)")
    flags.add_argument("--least", type=float, default=1.85, help="bar on the speed-up of two workers (1.85)")
    flags.add_argument("--most-overhead", type=float, default=20.0, help="bar on the overhead per job in ms (20)")
    flags.add_argument("--board", default="fashion-families", help="the board to simulate (fashion-families)")
    flags.add_argument("--images", type=int, help="its number of images")
    flags.add_argument("--results", type=Path, help="a folder of results with timings.json; default: the board's own")
    flags.add_argument("--startup", type=float, default=10.0, help="seconds until workers are ready (10)")
    options = flags.parse_args(arguments)
    return perform(
        "scaling", options, lambda report: (speedup if options.part == "speedup" else limits)(report, options)
    )


if __name__ == "__main__":
    sys.exit(main())
