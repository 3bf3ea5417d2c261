"""Grades planted faults and honest defenses, and counts how often the grade tells them apart.

    python benchmarks/grades.py --store grades.sqlite --workers 2
    python benchmarks/grades.py --store grades.sqlite --workers 2 --only --budget 12000
    python benchmarks/grades.py --store grades.sqlite --workers 2 --only --rows trades-jpeg --budget 12000

The board is benchmarks/boards/grades.yaml, with 24 planted faults of purebench as further rows. They were split at
random beforehand: the first 12 may be used to choose the thresholds of the grade, the other 12 only judge it. Each
fault wraps one of four classifiers in turn; the truth of a fault is at most what the same attacks leave of its
classifier alone, which is a row as well. A fault is *missed* if its measured accuracy is more than 5 points above
that, so that its number is wrong; the other faults did not mislead the attacks. Printed are, per row, the accuracy
and the letters with the reasons that decide them, and for each group the share of rows with a letter of D or worse,
with its Clopper-Pearson interval. Bars: no missed fault of the judging half has a letter above D, and no honest
deterministic row has one below B. The run resumes when it is started again with the same store.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.reporting import Report, parser, percent, perform, text

from purebench import evaluate
from purebench.boards.board import Board, DefenseChoice
from purebench.boards.effort_settings import EffortRung, EffortSettings
from purebench.boards.parse import load_board
from purebench.boards.selection import with_rows
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.results.files.companions import export_companions, load_companions, load_declared
from purebench.results.files.export import export_results, load_results
from purebench.results.grading.criteria.letters import Letter
from purebench.results.grading.evidence import RECOVERED
from purebench.results.grading.gathering import evidence_of
from purebench.results.ranking.rank import Row, rank
from purebench.statistics import clopper_pearson

BOARD = Path(__file__).parent / "boards" / "grades.yaml"
SETTING = (
    "decoy-noise", "shattered", "reversed-gradient", "reversed-losers", "decoy-blur", "gradient-mode", "other-classes",
    "random-scale", "random-sign", "saturated", "ranks", "not-finite",
)  # fmt: skip
JUDGING = (
    "detached", "exploding", "clipped", "one-hot", "decoy-ensemble", "bfloat16", "k-wta", "random-gradient", "float16",
    "quantised", "temperature", "shuffled",
)  # fmt: skip
"""The names of all faults in alphabetical order, permuted by numpy.random.default_rng(16): the first and next 12."""
WRAPPED = ("trades", "pgd-at", "verified", "none")
"""Rows whose classifiers the faults of each half wrap in turn; three of four are trained for robustness."""
CLASSIFIERS = {
    "trades": "fashion-trades",
    "pgd-at": "fashion-pgd-at",
    "verified": "fashion-verified",
    "none": "fashion-resnet",
}


def with_faults(board: Board, faults: Sequence[str]) -> Board:
    """Return the board with these faults as further rows, named fault-NAME."""
    rows = [
        DefenseChoice(f"fault-{name}", Spec("masked", {"fault": name, "classifier": CLASSIFIERS[wrapped(name)]}))
        for name in faults
    ]
    return replace(board, defenses=(*board.defenses, *rows))


def quick(board: Board) -> Board:
    """Return the board with few rows and short attacks, which are not doubled."""
    rungs = tuple(EffortRung(steps=steps) for steps in (1, 2, 4))
    return replace(
        board,
        attacks=tuple(attack for attack in board.attacks if attack.name in ("clean", "apgd-bpda")),
        defenses=tuple(row for row in board.defenses if row.name in ("none", "trades")),
        controls=(),
        effort=EffortSettings(rungs=rungs, queries=5),
        dataset=replace(board.dataset, block=8),
    )


def wrapped(fault: str) -> str:
    """Return the row of the classifier that a fault wraps."""
    half = SETTING if fault in SETTING else JUDGING
    return WRAPPED[half.index(fault) % len(WRAPPED)]


def group(row: Row) -> str:
    """Return the group of a row: a half of the faults, or honest and deterministic or random."""
    fault = row.name.removeprefix("fault-")
    if fault != row.name:
        return "fault, setting" if fault in SETTING else "fault, judging"
    return "honest, random" if row.result.random else "honest, deterministic"


def described(row: Row, rows: dict[str, Row]) -> dict[str, Any]:
    """Return the line of a row in the table."""
    grade = row.grade
    assert grade is not None
    fault = row.name.removeprefix("fault-")
    line: dict[str, Any] = {
        "name": row.name,
        "group": group(row),
        "letter": str(grade.letter),
        "letters": grade.letters,
        "robust": None if row.robust is None else row.robust.value,
        "why": "; ".join(f"{reason.code}: {reason.short or reason.sentence}" for reason in grade.deciding),
    }
    if fault != row.name:
        alone = rows[wrapped(fault)].robust
        assert alone is not None
        line["truth"] = alone.value
        line["missed"] = line["robust"] is None or line["robust"] - alone.value > RECOVERED
    return line


def show(report: Report, rows: list[dict[str, Any]], confidence: float) -> None:
    """Print the rows and the shares of the groups, and check the bars."""
    columns = [("name", "row", text), ("robust", "measured", percent), ("truth", "truth at most", percent)]
    columns += [("letter", "grade", text), ("letters", "parts", text), ("why", "because of", text)]
    shares = []
    for name in dict.fromkeys(row["group"] for row in sorted(rows, key=lambda row: str(row["group"]))):
        own = [row for row in rows if row["group"] == name]
        report.show(name, own, columns)
        for what, counted in (("all", own), ("missed", [row for row in own if row.get("missed")])):
            if counted and (what == "all" or name.startswith("fault")):
                failing = sum(row["letter"] in "DF" for row in counted)
                found = clopper_pearson(failing, len(counted), confidence)
                share = f"{failing} of {len(counted)} [{100 * found.low:.0f}, {100 * found.high:.0f}] %"
                shares.append({"name": f"{name}, {what}", "share": share})
    report.show("D or F", shares, [("name", "group", text), ("share", "rows with D or F", text)])
    missed = [row for row in rows if row["group"] == "fault, judging" and row["missed"]]
    above = sum(row["letter"] in "ABC" for row in missed)
    report.at_most(f"missed faults of the judging half above D, of {len(missed)}", above, 0)
    honest = [row for row in rows if row["group"] == "honest, deterministic"]
    below = sum(row["letter"] not in (Letter.A, Letter.B) for row in honest)
    report.at_most(f"honest deterministic rows below B, of {len(honest)}", below, 0)


def evaluate_board(options: argparse.Namespace) -> None:
    """Run the board, and write its results and those of its controls and its ladder to `options.results`."""
    board = load_board(BOARD)
    if options.budget is not None:
        assert board.effort is not None
        board = replace(board, effort=board.effort.model_copy(update={"budget": options.budget}))
    if options.rows:
        if unknown := set(options.rows) - {row.name for row in board.defenses}:
            raise PurebenchError(f"--rows: {sorted(unknown)} are no rows of {BOARD.name}; name rows of its defenses.")
        board = with_rows(board, [row for row in board.defenses if row.name in options.rows])
    faults = (*SETTING, *JUDGING) if options.only is None else options.only
    if options.quick:
        board, faults = quick(board), ("detached",)
    report = evaluate(
        board=with_faults(board, faults),
        images=options.images,
        store=options.store,
        workers=options.workers,
        evidence=True,
    )
    declared = [row.name for row in board.controls]
    export_results(options.results, report.results, report.companions, declared=declared)
    export_companions(options.results, report.companions, declared)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code says whether the bars were met."""
    words = parser(__doc__)
    words.add_argument("--images", type=int, default=200, help="images of the board (200)")
    words.add_argument("--workers", type=int, default=1, help="processes (1)")
    words.add_argument("--only", nargs="*", help="only these faults; none without a name")
    words.add_argument("--rows", nargs="+", help="only these honest rows; their effort grows without the others")
    words.add_argument("--budget", type=int, help="passes per image up to which effort is doubled (the board's)")
    words.add_argument("--quick", action="store_true", help="one fault, one honest row, short attacks once")
    words.add_argument("--store", type=Path, help="store, to continue an interrupted run; default: a temporary one")
    words.add_argument("--results", type=Path, help="folder for the results; if it exists, they are graded again")
    options = words.parse_args(arguments)

    def work(report: Report) -> None:
        if not again:
            evaluate_board(options)
        results = load_results(options.results)
        evidence = evidence_of(results, load_companions(options.results, results), load_declared(options.results))
        found = {row.name: row for row in rank(results, evidence)}
        show(report, [described(row, found) for row in found.values()], results[0].board["confidence"])

    with TemporaryDirectory() as home:
        options.store = options.store or Path(home) / "store"
        again = options.results is not None and options.results.is_dir()
        options.results = options.results or Path(home) / "results"
        return perform("grades", options, work)


if __name__ == "__main__":
    sys.exit(main())
