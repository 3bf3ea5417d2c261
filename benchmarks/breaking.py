"""Measures how often `purebench break` breaks defenses with known faults: `python benchmarks/breaking.py --minutes 10`.

Each fault is measured on the same images of fashion-quick by the board's own attacks, and by the attack that `break`
finds on dev images within the time. The truth is the accuracy that the board's own attacks leave of the same model
without the fault: an upper bound of its robust accuracy, which the fault does not change. Faults that the board leaves
more than 20 %, and more than 5 points above the truth, count; bar: `break` brings at least 80 % of them to at most
5 points above the truth.

--write makes suite/attack_search/controls.json of the results, which the reports of `break` quote. It has all faults;
those that were never measured are marked so, and with --only, earlier results of the others are kept.

--quick measures one fault for a short time, and only shows that everything runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from common.reporting import Report, fixed, parser, perform, text

from purebench.attack_search.breaking import SearchBudget, break_defense
from purebench.attack_search.controls import BUNDLED, MeasuredFault, read_controls
from purebench.boards.board import Board, DefenseChoice
from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.boards.selection import choose, with_rows
from purebench.core.registry import Spec, create
from purebench.execution.board_run import run_board
from purebench.results.grading.evidence import RECOVERED
from purebench.results.merge import merge
from purebench.results.ranking.rank import rank

PARTS = Path(__file__).parent / "attack_parts"
CLASSIFIER = f"{PARTS / 'own_classifier.py'}:own_classifier"
"""A small classifier that is on no board."""
NOISE = {"gaussian-noise": {"sigma": 0.1}}


@dataclass(frozen=True)
class Fault:
    """A defense with a fault, and the same model without it.

    Attributes:
        use: The defense.
        plain: The model without the fault, with the same predicted classes (for wrong_surrogate: about the same).
    """

    use: Spec
    plain: Spec


def masked(fault: str, purifier: object = "none") -> Fault:
    """Return a fault of `masked` around the classifier; `purifier` is what it has before the classifier."""
    return Fault(Spec("masked", {"fault": fault, "classifier": CLASSIFIER}), plain(purifier))


def of_file(name: str, purifier: object = "none", **params: object) -> Fault:
    """Return a fault of faults.py."""
    return Fault(Spec(f"{PARTS / 'faults.py'}:{name}", params), plain(purifier))


def plain(purifier: object = "none") -> Spec:
    """Return the classifier behind a purifier, without a fault."""
    return Spec("before", {"purifier": purifier, "classifier": CLASSIFIER})


FAULTS: dict[str, Fault] = {
    "decoy": masked("decoy"),
    "saturated": masked("saturated"),
    "detached": masked("detached"),
    "reversed-gradient": masked("reversed-gradient"),
    "shattered": masked("shattered"),
    "not-finite": masked("not-finite"),
    "quantised": masked("quantised"),
    "one-hot": masked("one-hot"),
    "hidden-labels": of_file("hidden_labels"),
    "memory": masked("memory"),
    "wrong-surrogate": of_file("wrong_surrogate"),
    "decoy-ensemble": masked("decoy-ensemble"),
    "decoy-noise": masked("decoy-noise", NOISE),
    "detached-noise": of_file("noisy", NOISE, fault="detached"),
    "one-hot-noise": of_file("noisy", NOISE, fault="one-hot"),
}
ABOVE = 0.2
SHARE = 0.8


def board_of(name: str, use: Spec, images: int) -> Board:
    """Return fashion-quick with this defense as its only row, on its first images in one block."""
    board = with_rows(choose("fashion-quick", None, images), [DefenseChoice(name, use)])
    return replace(board, dataset=replace(board.dataset, block=min(board.dataset.block, images)))


def left_by_board(name: str, use: Spec, images: int, store: Path) -> float:
    """Return the accuracy that the board's own attacks leave."""
    board = board_of(name, use, images)
    _, records = run_board(board, store, workers=1)
    (row,) = rank(merge(board, records))
    return 1.0 if row.robust is None else row.robust.value


def measure(name: str, truth: float, options: argparse.Namespace, store: Path) -> MeasuredFault:
    """Return the measurements of one fault."""
    use, images, minutes = FAULTS[name].use, options.images, options.minutes
    before = left_by_board(name, use, images, store)
    budget = SearchBudget(minutes=minutes, images=images, confirm=images)
    original, began = load_board(find_board("fashion-quick")), time.monotonic()
    report = break_defense(board_of(name, use, images), original, store, budget, seed=options.seed)
    took = (time.monotonic() - began) / 60
    print(f"{name}: board {before:.1%}, {report.conclusion()} ({took:.1f} min)", file=sys.stderr, flush=True)
    assert report.confirmation is not None
    assert report.found.winner is not None
    attack = "; ".join(f"{step.attack} through {step.gradient}" for step in report.found.winner[0].steps)
    command = f"python benchmarks/breaking.py --minutes {minutes:g} --images {images} --seed {options.seed}"
    return MeasuredFault(
        name=name,
        random=report.random,
        seconds_per_pass=report.price,
        minutes=minutes,
        images=images,
        truth=truth,
        board=before,
        confirmed=report.confirmation.robust.value,
        command=command,
        attack=attack,
        inner=any(Spec.parse(str(step.gradient)).name == "inner" for step in report.found.winner[0].steps),
    )


def write(measured: Sequence[MeasuredFault], earlier: Sequence[MeasuredFault], options: argparse.Namespace) -> None:
    """Write controls.json with all faults: those just measured, earlier results of others, and the rest as unknown."""
    found = {one.name: one for one in (*earlier, *measured)}
    every = [found.get(name) or not_measured(name, options) for name in FAULTS]
    BUNDLED.write_text(json.dumps({"controls": [asdict(one) for one in every]}, indent=1) + "\n", encoding="utf-8")


def not_measured(name: str, options: argparse.Namespace) -> MeasuredFault:
    """Return a fault of which only the kind is known."""
    made = create("defenses", FAULTS[name].use)
    return MeasuredFault(name=name, random=made.random, minutes=options.minutes, images=options.images)


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
            truths: dict[str, float] = {}
            measured: list[MeasuredFault] = []
            earlier = read_controls() if options.only else []
            for name in names:
                use = FAULTS[name].plain
                if str(use) not in truths:
                    truths[str(use)] = left_by_board("plain", use, options.images, store)
                measured.append(measure(name, truths[str(use)], options, store))
                if options.write:
                    write(measured, earlier, options)
        show(report, measured)

    return perform("breaking", options, work)


def show(report: Report, measured: Sequence[MeasuredFault]) -> None:
    """Print the table, and check the bar."""
    rows = [
        {
            "name": one.name,
            "board": 100 * (one.board or 0.0),
            "truth": 100 * (one.truth or 0.0),
            "found": 100 * (one.confirmed or 0.0),
            "broken": "yes" if one.broken else "no",
        }
        for one in measured
    ]
    columns = [("name", "fault", text), ("truth", "truth, %", fixed(1)), ("board", "fashion-quick, %", fixed(1))]
    report.show("Faults", rows, [*columns, ("found", "break, %", fixed(1)), ("broken", "within 5 points", text)])
    some = missed_by_board(measured)
    missed = sum(not one.broken for one in some)
    report.at_most(f"faults above {ABOVE:.0%} that are not broken, of {len(some)}", missed, (1 - SHARE) * len(some))


def missed_by_board(measured: Sequence[MeasuredFault]) -> list[MeasuredFault]:
    """Return the measured faults that the board leaves above 20 %, and more than 5 points above the truth."""
    known = [one for one in measured if one.board is not None and one.truth is not None]
    return [one for one in known if one.board > max(ABOVE, one.truth + RECOVERED)]  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(main())
