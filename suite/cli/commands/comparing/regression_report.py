"""The part of `purebench compare` that compares new result files with old ones, and its exit codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from purebench.core.errors import PurebenchError

if TYPE_CHECKING:
    from rich.table import Table

    from purebench.results.ranking.comparisons import Side
    from purebench.results.ranking.regression import Change, Regression


def result_places(a: str, b: str) -> tuple[Path, Path] | None:
    """Return the paths of two result files or of two folders of results; None if a word is the name of a row.

    Args:
        a: the first argument of the command.
        b: the second argument.

    Raises:
        PurebenchError: One is a folder and the other is not.
    """
    places = Path(a), Path(b)
    files, folders = ([test(place) for place in places] for test in (_is_json, Path.is_dir))
    if all(files) or all(folders):
        return places
    if any(folders):
        raise PurebenchError(f"compare: expected two result files, two folders or two rows, but got {a} and {b}.")
    return None


def _is_json(place: Path) -> bool:
    return place.suffix == ".json"


def compare_old_and_new(
    old: Path,
    new: Path,
    *,
    margin: float,
    attack: str | None,
    confidence: float | None,
    shared: bool,
    out: Path | None,
) -> None:
    """Compare a new result or folder with an old one, row by row, and exit with the code of the verdict.

    Args:
        old: The file or folder of old results.
        new: The file or folder of new results.
        margin: Largest loss that is accepted, in [0,1].
        attack: The attack under which accuracies are compared; None for the robust accuracies.
        confidence: Of the intervals; None for the board's.
        shared: Whether to compare on the images that both have.
        out: A JSON file for the comparison; None for none.

    Raises:
        PurebenchError: A file is not a result, or the images differ.
        typer.Exit: With code 1 if a row is worse, and with code 3 if that is undecided.
    """
    from purebench.core.terminal_output import make_console
    from purebench.results.files.export import as_json, write_files
    from purebench.results.ranking.regression import EXIT_CODES, overall, regressions

    rows = _matched(old, new)
    found = regressions(rows.both, margin, attack=attack, confidence=confidence, shared=shared)
    verdict = rows.complete(overall([one.verdict for one in found]))
    told = {
        "what": f"accuracy under {attack}" if attack else "robust accuracy",
        "margin": margin,
        "verdict": str(verdict),
        "only_old": rows.only_old,
        "only_new": rows.only_new,
        "rows": [one.to_dict() for one in found],
    }
    if out is not None:
        write_files({out: as_json(told)})
    console = make_console()
    console.print(_table(found, rows.both))
    lines = [f"old: {old}; new: {new}", *_notes(found, rows, margin, str(told["what"]))]
    lines += [] if out is None else [f"comparisons: {out}"]
    for line in lines:
        console.print(line, style="dim", markup=False, highlight=False)
    console.print(f"verdict: {verdict}", style="bold", markup=False, highlight=False)
    if code := EXIT_CODES[verdict]:
        raise typer.Exit(code)


@dataclass(frozen=True)
class _Rows:
    """The rows of two places.

    Attributes:
        both: Old and new result of each row that both have.
        only_old: Names of the rows that only the old place has.
        only_new: Names of the rows that only the new place has.
    """

    both: Sequence[tuple[Side, Side]]
    only_old: Sequence[str] = ()
    only_new: Sequence[str] = ()

    def complete(self, verdict: Change) -> Change:
        """Return the verdict, which is not "not worse" if a row is missing from the new results."""
        from purebench.results.ranking.regression import Change

        return Change.UNDECIDED if self.only_old and verdict is Change.NOT_WORSE else verdict


def _matched(old: Path, new: Path) -> _Rows:
    from purebench.results.files.export import load_result, load_results
    from purebench.results.ranking.comparisons import Side

    if not old.is_dir():
        first, second = load_result(old), load_result(new)
        return _Rows([(Side(first.name, first), Side(second.name, second))])
    before, after = ({row.name: row for row in load_results(folder)} for folder in (old, new))
    both = [name for name in before if name in after]
    if not both:
        raise PurebenchError(f"compare: expected a defense that is in both {old} and {new}, but there is none.")
    return _Rows(
        [(Side(name, before[name]), Side(name, after[name])) for name in both],
        [name for name in before if name not in after],
        [name for name in after if name not in before],
    )


def _table(found: Sequence[Regression], both: Sequence[tuple[Side, Side]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from purebench.cli.commands.comparing.cells import p_text, points_text
    from purebench.core.terminal_output import printable
    from purebench.results.ranking.regression import Change

    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("row", overflow="fold")
    for column in ("new - old, points", "better, worse", "p" if len(found) == 1 else "p (Holm)"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for one, (old, new) in zip(found, both, strict=True):
        gap, pair = one.pair.found.difference, one.pair
        name = new.name if old.name == new.name else f"{old.name} → {new.name}"
        p, shift = p_text(pair.adjusted), points_text(gap)
        verdict = f"{one.verdict} (unchanged)" if one.unchanged else str(one.verdict)
        style = {Change.WORSE: "bold red", Change.UNDECIDED: "yellow", Change.NOT_WORSE: "green"}[one.verdict]
        counts = f"{pair.found.better}, {pair.found.worse}"
        table.add_row(*(Text(printable(cell)) for cell in (name, shift, counts, p)), Text(verdict, style=style))
    return table


def _notes(found: Sequence[Regression], rows: _Rows, margin: float, what: str) -> list[str]:
    """Return the notes below the table, a line each."""
    from purebench.results.ranking.regression import Change

    differences, tests = [one.pair.found.difference for one in found], sorted({one.pair.found.test for one in found})
    sizes, methods = sorted({one.n for one in differences}), sorted({one.method for one in differences})
    images = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    points = f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"
    reasons = [f"{one.name}: undecided because {reason}" for one in found for reason in one.reasons]
    reasons += [f"{one.name}: {remark}" for one in found for remark in one.remarks]
    open_ones = [one for one in found if one.verdict is Change.UNDECIDED and not one.reasons]
    return [
        f"difference: {what}, paired by image; {images} images; {100 * differences[0].confidence:g} % interval: "
        f"{', '.join(methods)}; p: {', '.join(tests)}",
        f"not worse: the interval excludes a loss of more than {points} (--margin); worse: the test shows a loss "
        "and the interval does not exclude one beyond the margin",
        "better, worse: number of images on which the new result is correct more often, and less often",
        *(["unchanged: the same code, weights and answers, so that the accuracy is the same"] if _same(found) else []),
        *reasons,
        *(["undecided: more images, or a larger margin, may decide"] if open_ones else []),
        *([f"missing from the new results: {', '.join(rows.only_old)}"] if rows.only_old else []),
        *([f"only in the new results: {', '.join(rows.only_new)}"] if rows.only_new else []),
    ]


def _same(found: Sequence[Regression]) -> bool:
    return any(one.unchanged for one in found)
