"""Writes the tables of docs/findings.md from the committed results of the bundled boards.

    python tools/findings.py            # writes the page
    python tools/findings.py --check    # changes nothing; exit code 1 if the page has other tables than the results

A table stands in the page between `<!-- table BOARD PART -->` and `<!-- end -->`. PART is `rows`, the accuracy of each
defense under growing knowledge of the attacker, `pairs`, the differences between families of defenses, or `controls`,
a sentence on how near the attacks come to known truths.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.cli.commands.comparing.cells import points_text
from purebench.leaderboards.evidence.controls import summary_text
from purebench.report import Report
from purebench.results.files.companions import load_companions
from purebench.results.files.export import load_results
from purebench.results.grading.gathering import declared_controls, evidence_of
from purebench.results.ranking.comparisons import Pair, Side, comparisons
from purebench.results.ranking.rank import Row

PAGE = Path(__file__).resolve().parent.parent / "docs" / "findings.md"
MARK = re.compile(
    r"(<!-- table (?P<board>[a-z0-9-]+) (?P<part>rows|pairs|controls) -->\n\n).*?(\n\n<!-- end -->)", re.DOTALL
)
FAMILIES = {
    "mlvgm": "MLVGM",
    "diffpure": "diffusion",
    "gdmp": "diffusion",
    "vae": "VAE",
    "a-vae": "VAE",
    "nd-vae": "VAE",
    "defense-vae": "VAE",
    "puvae": "VAE",
    "trades": "adversarial training",
    "pgd-at": "adversarial training",
}
"""The families of defenses, by the first part of their registered names."""
BASELINES = ("trades", "pgd-at", "gdmp", "diffpure-ddpm", "diffpure-ddim", "vae")
"""The rows with which MLVGMs are compared."""
VIEWS = {"blind": "apgd-blind", "BPDA": "apgd-bpda", "exact": "apgd-exact"}
"""The columns of single attacks: APGD with growing knowledge of the purifier."""


def family(row: Row) -> str:
    """Return the family of a row, or an empty string for a transform or a combination."""
    name = str(row.result.spec["name"])
    return next((found for start, found in FAMILIES.items() if name == start or name.startswith(f"{start}-")), "")


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
    """Return the accuracies of all defenses, best first."""
    lines = []
    for row in report.rows:
        cells = {cell.attack: cell.estimate for cell in row.cells}
        single = [f"{100 * found.value:.1f} %" if (found := cells.get(name)) else "–" for name in VIEWS.values()]
        grade = "–" if row.grade is None else str(row.grade.letter)
        warnings = ", ".join(f"`{code}`" for code in sorted({str(warning.code) for warning in row.warnings})) or "–"
        strongest = f"`{row.strongest}`" if row.strongest else "–"
        clean, robust = ("–" if found is None else found.percent() for found in (row.clean, row.robust))
        lines.append([f"`{row.name}`", f"**{robust}**", clean, *single, strongest, family(row) or "–", grade, warnings])
    head = ["defense", "all attacks", "clean", *VIEWS, "strongest attack", "family", "grade", "warnings"]
    return table(head, lines)


def cell(pair: Pair) -> str:
    """Return a difference in points with its interval, bold if the rows differ significantly."""
    text = points_text(pair.found.difference).replace("-", "−")
    return f"**{text}**" if pair.apart else text


def pairs_table(report: Report) -> str:
    """Return the robust accuracy of each MLVGM less that of each baseline in points, Holm-adjusted over the table."""
    ours = [row.name for row in report.rows if family(row) == "MLVGM"]
    others = [name for name in BASELINES if name in {row.name for row in report.rows}]
    sides = {row.name: Side(row.name, row.result) for row in report.rows}
    pairs = comparisons([(sides[one], sides[other]) for one in ours for other in others])
    found = {(pair.a, pair.b): cell(pair) for pair in pairs}
    lines = [[f"`{one}`", *(found[one, other] for other in others)] for one in ours]
    return table(["", *(f"− `{other}`" for other in others)], lines)


def controls_text(report: Report) -> str:
    """Return which of the controls the attacks of the board recover."""
    evidence = evidence_of(report.results, report.companions, declared_controls(report.board))
    text = summary_text(evidence)
    return f"{text[:1].upper()}{text[1:]}."


TABLES = {"rows": rows_table, "pairs": pairs_table, "controls": controls_text}


def written(page: str) -> str:
    """Return the text of the page with the tables of the committed results."""
    reports: dict[str, Report] = {}

    def filled(mark: re.Match[str]) -> str:
        board = mark["board"]
        if board not in reports:
            reports[board] = report_of(board)
        return mark[1] + TABLES[mark["part"]](reports[board]) + mark[4]

    return MARK.sub(filled, page)


def main(arguments: Sequence[str]) -> int:
    """Write or check the page."""
    page = PAGE.read_text(encoding="utf-8")
    found = written(page)
    if list(arguments) == ["--check"]:
        if page != found:
            print("docs/findings.md: the tables differ from the committed results; run python tools/findings.py")
        return int(page != found)
    if arguments:
        print(__doc__)
        return 2
    PAGE.write_text(found, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
