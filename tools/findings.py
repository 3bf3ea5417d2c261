"""Writes the tables of docs/findings.md from the committed results of the bundled boards.

    python tools/findings.py            # writes the page
    python tools/findings.py --check    # changes nothing; exit code 1 if the page has other tables than the results

A table stands in the page between `<!-- table BOARD PART -->` and `<!-- end -->`. The parts:

rows        the accuracy of each defense under growing knowledge of the attacker
pairs       paired differences between rows of different families
randomness  what the random rows owe to random numbers that the attacker does not know
controls    a sentence on how near the attacks come to known truths
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_page import write_page  # isort: skip

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.cli.commands.comparing.cells import points_text
from purebench.leaderboards.evidence.controls import summary_text
from purebench.leaderboards.figures_text import known
from purebench.report import Report
from purebench.results.files.companions import load_companions
from purebench.results.files.export import load_results
from purebench.results.ranking.comparisons import Pair, Side, comparisons
from purebench.results.ranking.rank import Row
from purebench.results.results import CLEAN, DefenseResult
from purebench.statistics import (
    Estimate,
    interval,
    interval_method,
    paired_difference,
    resubmission_per_image,
)

OUTDATED = "docs/findings.md: the tables differ from the committed results; run python tools/findings.py"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "findings.md"
MARK = re.compile(
    r"(<!-- table (?P<board>[a-z0-9-]+) (?P<part>[a-z]+) -->\n\n)(?:(?!<!-- ).)*(<!-- end -->)", re.DOTALL
)
MLVGM, DIFFUSION, VAE, TRAINED = "MLVGM", "diffusion", "VAE", "adversarial training"
FAMILIES = {
    MLVGM: ("mlvgm-hvae", "mlvgm-nvae", "mlvgm-stylegan"),
    DIFFUSION: ("diffpure", "gdmp"),
    VAE: ("vae", "a-vae", "a-vae-released", "nd-vae", "nd-vae-released", "defense-vae", "puvae"),
    TRAINED: ("trades", "pgd-at", "cifar10-fast-at"),
    "energy-based model": ("ebm-langevin",),
    "GAN": ("defense-gan",),
    "transform": (
        "gaussian-blur",
        "gaussian-noise",
        "jpeg",
        "median",
        "quantise",
        "random-resize-pad",
        "tv-minimisation",
    ),
    "combination": ("before",),
    "no defense": ("none",),
}
"""The registered names of defenses by their family."""
FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names}
COMPARED, COMPARED_WITH = (MLVGM, DIFFUSION), (TRAINED, DIFFUSION, VAE)
"""The families of the columns and of the lines of the table of differences."""
ONE_MODEL = (TRAINED, "no defense")
"""The families without a purifier, on which the three attacks of VIEWS are the same."""
BLIND = "apgd-blind"
VIEWS = {"blind": BLIND, "BPDA": "apgd-bpda", "exact": "apgd-exact"}
"""The columns of single attacks: APGD with growing knowledge of the purifier."""
SQUARE, TRANSFERRED = "square", ("transfer", "transfer-none")
UNAWARE = (BLIND, SQUARE, *TRANSFERRED)
"""The attacks that compute no gradient through the purifier."""
TIMES = 10
"""Number of times that an adversarial example is submitted; it is robust if all answers are right."""


def family(result: DefenseResult) -> str:
    """Return the family of a row.

    Raises:
        KeyError: the registered name of its defense is in none.
    """
    return FAMILY_OF[str(result.spec["name"])]


def report_of(board: str) -> Report:
    """Return the committed results of a bundled board."""
    path = bundled()[board]
    results = load_results(path.parent / "results")
    companions = load_companions(path.parent / "results", results)
    return Report(load_board(path), tuple(results), (), companions=companions)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_table(report: Report) -> str:
    """Return the accuracies of all defenses, best first, and a sentence on those that were not run."""
    lines = []
    for row in report.rows:
        cells = {cell.attack: cell.estimate for cell in row.cells}
        used = [BLIND] if family(row.result) in ONE_MODEL else list(VIEWS.values())
        single = [percent(cells.get(name)) if name in used else "–" for name in VIEWS.values()]
        clean, robust = (interval_text(found) for found in (row.clean, row.robust))
        facts = [lost(row.result), most_picked(row), family(row.result), f"{row.cost.seconds / 60:.1f}"]
        others = [percent(cells.get(SQUARE)), percent(transferred(row))]
        lines.append([f"`{row.name}`", f"**{robust}**", clean, *others, *single, *facts])
    head = [
        "defense",
        "all attacks",
        "clean",
        "Square",
        "transfer",
        *VIEWS,
        "blind − all",
        "most often picked",
        "family",
        "minutes",
    ]
    missing = {one.name for one in report.board.defenses} - {row.name for row in report.rows}
    told = f"\n\nNot run: {', '.join(f'`{name}`' for name in sorted(missing))}." if missing else ""
    return table(head, lines) + told


def lowest(row: Row, names: Sequence[str]) -> Estimate | None:
    """Return the lowest accuracy under one of these attacks; None if none applies to the row."""
    found = [cell.estimate for cell in row.cells if cell.attack in names and cell.estimate is not None]
    return min(found, key=lambda one: one.value) if found else None


def transferred(row: Row) -> Estimate | None:
    """Return the lowest accuracy under the examples made for other rows."""
    return lowest(row, TRANSFERRED)


def percent(found: Estimate | None) -> str:
    """Return an accuracy without its interval."""
    return "–" if found is None else f"{100 * found.value:.1f} %"


def interval_text(found: Estimate | None) -> str:
    """Return an accuracy with its interval."""
    return "–" if found is None else found.percent()


def points(found: Estimate) -> str:
    """Return a difference in points with its interval."""
    return points_text(found).replace("-", "−")


def lost(result: DefenseResult) -> str:
    """Return the accuracy under the blind attack minus that under all attacks, paired by image."""
    (blind,) = (result.right(attack).mean(axis=1) for attack in result.attacks if attack.name == BLIND)
    return points(paired_difference(blind, result.scores(), float(result.board["confidence"])))


def most_picked(row: Row) -> str:
    """Return the attack whose example is picked for most images of a random row, else the one that leaves least."""
    if row.result.random:
        ((name, count),) = Counter(row.result.worst_case.picked).most_common(1)
        return f"`{name}` ({count} of {len(row.result.images)})"
    left = {
        cell.attack: cell.estimate.value for cell in row.cells if cell.estimate is not None and cell.attack != CLEAN
    }
    names = [name for name, value in left.items() if value == min(left.values())]
    return f"`{names[0]}`" if len(names) == 1 else f"{len(names)} attacks tie"


def cell(pair: Pair) -> str:
    """Return a difference in points with its interval, bold if the rows differ significantly."""
    text = points(pair.found.difference)
    return f"**{text}**" if pair.apart else text


def pairs_of(report: Report) -> list[Pair]:
    """Compare each MLVGM and diffusion row with each row of another family, with Holm's correction over all of them."""
    families = {row.name: family(row.result) for row in report.rows}
    ours, others = ([name for name in families if families[name] in those] for those in (COMPARED, COMPARED_WITH))
    sides = {row.name: Side(row.name, row.result) for row in report.rows}
    return comparisons(
        [(sides[one], sides[other]) for other in others for one in ours if families[one] != families[other]]
    )


def pairs_table(report: Report) -> str:
    """Return the robust accuracy of each MLVGM and diffusion row minus that of each row of another family."""
    found = {(pair.b, pair.a): cell(pair) for pair in pairs_of(report)}
    others, ours = (list(dict.fromkeys(key[side] for key in found)) for side in (0, 1))
    lines = [[f"− `{other}`", *(found.get((other, one), "") for one in ours)] for other in others]
    return table(["", *(f"`{one}`" for one in ours)], lines)


def randomness_table(report: Report) -> str:
    """Return what the purifiers among the random rows owe to random numbers that the attacker does not know."""
    lines = []
    for row in report.rows:
        for found in known(row.result):
            often = interval(
                resubmission_per_image(row.result.fresh[np.newaxis], TIMES),
                interval_method(False),
                found.accuracy.confidence,
            )
            facts = [row.robust, found.accuracy]
            bracket = "–" if row.bracket is None else f"{100 * row.bracket.low:.1f}–{100 * row.bracket.high:.1f} %"
            told = [*map(interval_text, facts), points(found.gap), interval_text(often), bracket]
            lines.append([f"`{row.name}`", *told])
    return table(
        ["defense", "all attacks", "known randomness (upper bound)", "gap", f"resubmission@{TIMES}", "bracket"], lines
    )


def controls_text(report: Report) -> str:
    """Return which of the controls the attacks of the board recover."""
    text = summary_text(report.evidence)
    return f"{text[:1].upper()}{text[1:]}."


TABLES = {"rows": rows_table, "pairs": pairs_table, "randomness": randomness_table, "controls": controls_text}


def written(page: str) -> str:
    """Return the text of the page with the tables of the committed results.

    Raises:
        ValueError: a mark names an unknown board or part, or has no end.
    """
    reports: dict[str, Report] = {}

    def filled(mark: re.Match[str]) -> str:
        board, part = mark["board"], mark["part"]
        if board not in bundled() or part not in TABLES:
            raise ValueError(f"expected a bundled board and one of {', '.join(TABLES)}, but got {board} {part}")
        if board not in reports:
            reports[board] = report_of(board)
        return f"{mark[1]}{TABLES[part](reports[board])}\n\n{mark[4]}"

    if not page.count("<!-- table ") == page.count("<!-- end -->") == len(MARK.findall(page)):
        raise ValueError("expected <!-- end --> below each <!-- table BOARD PART -->, and no other mark between them")
    return MARK.sub(filled, page)


def main(arguments: Sequence[str]) -> int:
    """Write or check the page."""
    return write_page(PAGE, written, arguments, usage=str(__doc__), outdated=OUTDATED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
