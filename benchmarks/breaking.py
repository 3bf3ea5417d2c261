"""Measures how often `purebench break` breaks defenses with known faults: `python benchmarks/breaking.py --minutes 10`.

Each fault is measured three times on the same images of fashion-quick: by the board's own attacks, by the attack that
`break` finds on dev images within the time, and the truth: the wrapped classifier without the fault under both. Faults
that the board leaves above 20 % and 5 points above the truth count; bar: at least 80 % of them are brought to at most 5
points above the truth. --write makes suite/attack_search/controls.json of the results, which the reports of `break`
quote.

--quick measures one fault for a short time, and only shows that everything runs.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from common.reporting import Report, fixed, parser, perform, text

from purebench.attack_search.breaking import Budget, break_defense
from purebench.attack_search.controls import BUNDLED, Control
from purebench.boards.board import Board
from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.boards.selection import choose
from purebench.execution.board_run import run_board
from purebench.results.merge import merge
from purebench.results.ranking.rank import rank

PARTS = Path(__file__).parent / "attack_parts"
FAULTS: dict[str, str] = {
    "decoy": "plain",
    "saturated": "plain",
    "detached": "plain",
    "flipped": "plain",
    "shattered": "plain",
    "not_a_number": "plain",
    "low_precision": "plain",
    "hard_labels": "plain",
    "hidden_labels": "plain",
    "memory": "plain",
    "wrong_surrogate": "plain",
    "per_call": "plain",
    "decoy(noise=0.1)": "plain(noise=0.1)",
    "detached(noise=0.1)": "plain(noise=0.1)",
    "hard_labels(noise=0.1)": "plain(noise=0.1)",
}
"""The faults, each with the defense that has the same answers without it (for per_call and wrong_surrogate: about)."""
ABOVE, CLOSE = 0.2, 0.05
SHARE = 0.8


def of(name: str) -> str:
    """Return the spec of a defense in faults.py."""
    return f"{PARTS / 'faults.py'}:{name}"


def board_of(name: str, images: int) -> Board:
    """Return fashion-quick with this defense as its only row, on its first images in one block."""
    board = choose("fashion-quick", [of(name)], images)
    return replace(board, dataset=replace(board.dataset, block=min(board.dataset.block, images)))


def left_by_board(name: str, images: int, store: Path) -> float:
    """Return the accuracy that the board's own attacks leave."""
    board = board_of(name, images)
    _, records = run_board(board, store, workers=1)
    (row,) = rank(merge(board, records))
    return 1.0 if row.robust is None else row.robust.value


def measure(name: str, truth: float, options: object, store: Path) -> Control:
    """Return the control of one fault."""
    images, minutes = options.images, options.minutes  # type: ignore[attr-defined]
    before = left_by_board(name, images, store)
    budget = Budget(minutes=minutes, images=images, confirm=images)
    began = time.monotonic()
    report = break_defense(
        board_of(name, images),
        load_board(find_board("fashion-quick")),
        store,
        budget,
        seed=options.seed,  # type: ignore[attr-defined]
    )
    took = (time.monotonic() - began) / 60
    print(f"{name}: board {before:.1%}, {report.conclusion()} ({took:.1f} min)", file=sys.stderr, flush=True)
    assert report.confirmation is not None
    found = "; ".join(f"{step.attack} through {step.gradient}" for step in report.found.winner[0].steps)  # type: ignore[index]
    return Control(
        name=name,
        random=report.random,
        seconds_per_pass=report.price,
        minutes=minutes,
        images=images,
        truth=truth,
        board=before,
        confirmed=report.confirmation.robust.value,
        command=f"python benchmarks/breaking.py --minutes {minutes:g} --images {images} --seed {options.seed}: {found}",  # type: ignore[attr-defined]
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code says whether the bar was met."""
    words = parser(__doc__)
    words.add_argument("--minutes", type=float, default=10.0, help="time of each search (10)")
    words.add_argument("--images", type=int, default=48, help="dev images, and images of the board (48)")
    words.add_argument("--only", nargs="*", help="only these faults")
    words.add_argument("--store", type=Path, help="store, to continue an interrupted run; default: a temporary one")
    words.add_argument("--write", action="store_true", help="write controls.json")
    words.add_argument("--quick", action="store_true", help="one fault, for a short time")
    options = words.parse_args(arguments)
    sys.path.insert(0, str(PARTS))
    if options.quick:
        options.only, options.images, options.minutes = ["decoy"], 12, 0.5

    def work(report: Report) -> None:
        with TemporaryDirectory() as home:
            store = options.store or Path(home) / "store"
            names = [name for name in FAULTS if not options.only or name in options.only]
            plain = {FAULTS[name] for name in names}
            truth = {name: left_by_board(name, options.images, store) for name in sorted(plain)}
            controls = []
            for name in names:
                controls.append(measure(name, truth[FAULTS[name]], options, store))
                if options.write:
                    rows = [asdict(one) for one in controls]
                    BUNDLED.write_text(json.dumps({"controls": rows}, indent=1) + "\n", encoding="utf-8")
        show(report, controls)

    return perform("breaking", options, work)


def show(report: Report, controls: list[Control]) -> None:
    """Print the table, and check the bar."""
    rows = [
        {
            "name": one.name,
            "board": 100 * one.board,
            "truth": 100 * one.truth,
            "found": 100 * one.confirmed,
            "broken": "yes" if one.broken else "no",
        }
        for one in controls
    ]
    columns = [("name", "fault", text), ("truth", "truth, %", fixed(1)), ("board", "fashion-quick, %", fixed(1))]
    report.show("Faults", rows, [*columns, ("found", "break, %", fixed(1)), ("broken", "within 5 points", text)])
    counted = [one for one in controls if one.board > ABOVE and one.board > one.truth + CLOSE]
    missed = sum(not one.broken for one in counted)
    report.at_most(
        f"faults above {ABOVE:.0%} that are not broken, of {len(counted)}", missed, (1 - SHARE) * len(counted)
    )


if __name__ == "__main__":
    sys.exit(main())
