"""The command `purebench compare`: compares two rows of a board, or all of them, on the same images."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.core.errors import PurebenchError, did_you_mean

if TYPE_CHECKING:
    from rich.table import Table

    from purebench.results.ranking.comparisons import Pair, Side
    from purebench.results.results import DefenseResult


def compare(
    a: Annotated[
        str | None, typer.Argument(help="A row of the board, or the JSON file of an old result, or a folder of them.")
    ] = None,
    b: Annotated[str | None, typer.Argument(help="The other row, or the new result or folder.")] = None,
    board: Annotated[
        str,
        typer.Option(
            help="The board of the rows, a name or the path of a board.yaml; without --store and --results, the "
            "results in the folder `results` beside its board.yaml are used: those committed with a bundled board."
        ),
    ] = "fashion-quick",
    store: Annotated[
        Path | None, typer.Option(help="Use the rows of this store, which `purebench run` has written.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Read the rows from this folder, which `purebench run --results` has written.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Compare all pairs of rows, with Holm's correction over all pairs.")
    ] = False,
    attack: Annotated[
        str | None, typer.Option(help="Compare the accuracy under this attack instead of the robust accuracy.")
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help=("Compare on the common images of the two results if their images differ."))
    ] = False,
    confidence: Annotated[
        float | None, typer.Option(help="Confidence level, such as 0.99; default: the board's.")
    ] = None,
    margin: Annotated[
        float,
        typer.Option(help="For an old and a new result: largest loss that is accepted, such as 0.05 for 5 points."),
    ] = 0.05,
    out: Annotated[Path | None, typer.Option(help="Write the comparisons to this JSON file.")] = None,
) -> None:
    """Compare two rows of a board, or an old result with a new one, on the same images.

    Runs nothing. With two result files or folders, the exit code is 0 if no row is worse by more than the margin, 1 if
    a row is worse, and 3 if that is undecided.

    Example: purebench compare trades gdmp --board fashion-families
    Example: purebench compare --all --board fashion-quick
    Example: purebench compare old.json new.json --margin 0.05
    """
    from purebench.cli.commands.comparing.regression_report import compare_old_and_new, result_places
    from purebench.core.terminal_output import make_console
    from purebench.results.files.export import as_json, write_files
    from purebench.results.ranking.comparisons import comparisons, other_settings

    if confidence is not None and not 0 < confidence < 1:
        raise PurebenchError(f"--confidence: expected a number between 0 and 1, such as 0.95, but got {confidence!r}.")
    if every == (a is not None or b is not None) or (not every and b is None):
        raise PurebenchError("compare: expected either two rows, A and B, or --all for all pairs of rows.")
    if not every and (places := result_places(str(a), str(b))):
        compare_old_and_new(*places, margin=margin, attack=attack, confidence=confidence, shared=shared, out=out)
        return
    pairs = _all(_rows(board, store, results), attack) if every else _two(str(a), str(b), board, store, results)
    found = comparisons(pairs, attack=attack, confidence=confidence, shared=shared)
    console = make_console()
    what = f"accuracy under {attack}" if attack else "robust accuracy"
    if out is not None:
        write_files({out: as_json({"what": what, "pairs": [pair.to_dict() for pair in found]})})
    console.print(_table(found, console.width))
    for line in [
        _source(a, b, board, store, results),
        f"difference: {what} of A minus that of B, in points",
        *_notes(found, sized=_sized(found, console.width)),
    ]:
        console.print(line, style="dim", markup=False, highlight=False)
    differing = sorted({name for left, right in pairs for name in other_settings(left.result, right.result)})
    if differing:
        told = f"the boards differ in {', '.join(differing)}, so the difference is not due to the defenses alone"
        console.print(told, markup=False)
    if out is not None:
        console.print(f"comparisons: {out}", markup=False, highlight=False)


def _source(a: str | None, b: str | None, board: str, store: Path | None, results: Path | None) -> str:
    """Return a line that names the source of the compared numbers."""
    from purebench.boards.bundled import bundled, find_board
    from purebench.core.files.places import default_store

    given = [text for text in (a, b) if text is not None and Path(text).suffix == ".json"]
    files = "".join(f"{text}, and for the other row " for text in given)
    if store is not None or results is not None:
        return f"source: {files}{'the store' if store else 'the results in'} {store or results}"
    if board in bundled():
        place = f"the committed results of {board}, not your own runs"
        return f"source: {files}{place}; for your own runs, add --store {default_store()}"
    return f"source: {files}the results in {find_board(board).parent / 'results'}"


def _two(a: str, b: str, board: str, store: Path | None, results: Path | None) -> list[tuple[Side, Side]]:
    from purebench.core.files.places import default_store
    from purebench.results.files.export import load_result
    from purebench.results.ranking.comparisons import Side

    places = Path(a), Path(b)
    rows = {row.name: row for row in _rows(board, store, results)}
    sides = []
    for text, place in zip((a, b), places, strict=True):
        if place.suffix == ".json":
            sides.append(Side(text, load_result(place)))
        elif text in rows:
            sides.append(Side(text, rows[text]))
        else:
            hint = (
                ""
                if store or results
                else (
                    " These are the board's committed results; for the results of your own runs, add --store "
                    f"{default_store()}."
                )
            )
            if any(place.suffix == ".json" for place in places):
                hint += " To compare an old result with a new one, name two JSON files."
            raise PurebenchError(f"compare: the row {text!r} is unknown; {did_you_mean(text, rows)}{hint}")
    return [(sides[0], sides[1])]


def _all(rows: list[DefenseResult], attack: str | None) -> list[tuple[Side, Side]]:
    """Return every two rows that have a robust accuracy, the better first; without rows whose attack ERRORED."""
    from purebench.core.terminal_output import complain
    from purebench.results.ranking.comparisons import Side
    from purebench.results.ranking.rank import rank

    known = [row for row in rank(rows) if row.rank]
    failed = [row.name for row in known if any(cell.attack == attack and cell.errored for cell in row.cells)]
    if failed:
        complain(f"not compared, because {attack} errored on images: {', '.join(failed)}")
    sides = [Side(row.name, row.result) for row in known if row.name not in failed]
    if len(sides) < 2:
        raise PurebenchError(f"--all: expected at least two rows with results, but got {len(sides)}.")
    return list(combinations(sides, 2))


def _rows(board: str, store: Path | None, results: Path | None) -> list[DefenseResult]:
    """Return the rows of a folder, a store, or of the board's committed results."""
    from purebench.boards.bundled import find_board
    from purebench.boards.selection import stored_name
    from purebench.core.terminal_output import complain
    from purebench.results.files.export import load_results
    from purebench.results.files.stored_board import from_store, unlisted
    from purebench.results.merge import merge

    if store is not None and results is not None:
        raise PurebenchError("compare: expected --store or --results, but got both; choose one.")
    if store is not None:
        name = stored_name(board)
        complain(unlisted(store, name))
        return merge(*from_store(store, name))
    folder = find_board(board).parent / "results" if results is None else results
    found = load_results(folder) if folder.is_dir() else []
    if not found:
        raise PurebenchError(
            f"{folder}: expected results, but found none; run the board with --results, or pass --store."
        )
    return found


def _table(pairs: list[Pair], width: int) -> Table:
    """Return the table, with a row for each pair; effect sizes are shown where the terminal has room for them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from purebench.cli.commands.comparing.cells import p_text, points_text
    from purebench.core.terminal_output import printable

    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("A", overflow="fold")
    table.add_column("B", overflow="fold")
    table.add_column("difference, points", no_wrap=True)
    table.add_column("A > B, <", justify="right", no_wrap=True)
    sized = _sized(pairs, width)
    if sized:
        table.add_column("odds", justify="right", no_wrap=True)
        table.add_column("g", justify="right", no_wrap=True)
    table.add_column("p" if len(pairs) == 1 else "p (Holm)", justify="right", no_wrap=True)
    for pair in pairs:
        one = pair.found
        gap, p = points_text(one.difference), p_text(pair.adjusted)
        sizes = [f"{one.odds_ratio:.3g}", f"{one.cohen_g:+.2f}"] if sized else []
        cells = [pair.a, pair.b, gap, f"{one.better}, {one.worse}", *sizes, p]
        table.add_row(*(Text(printable(cell), style="bold" if pair.apart else "") for cell in cells))
    return table


def _sized(pairs: list[Pair], width: int) -> bool:
    """Return whether the terminal has room for the effect sizes."""
    names = zip(*((pair.a, pair.b) for pair in pairs), strict=True)
    return width - sum(max(map(len, column)) for column in names) > 58


def _notes(pairs: list[Pair], *, sized: bool) -> list[str]:
    """Return the notes below the table, a line each."""
    first = pairs[0].found.difference
    tests = {
        "mcnemar": "exact McNemar test (each answer right or wrong)",
        "sign-flip": "sign-flip test of paired differences",
        "betting": "anytime-valid betting test of the difference",
    }
    used = [told for name, told in tests.items() if any(pair.found.test == name for pair in pairs)]
    sizes = sorted({pair.found.difference.n for pair in pairs})
    images = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    apart = sum(pair.apart for pair in pairs)
    told = f"{apart} of {len(pairs)} pairs differ significantly (bold)" if len(pairs) > 1 else _verdict(pairs[0])
    wider = any(pair.apart and pair.found.difference.low <= 0 <= pair.found.difference.high for pair in pairs)
    return [
        told,
        *(
            [
                f"an interval may contain 0 although p is small: it ({first.method}) holds for any distribution, and "
                "is wider than the test"
            ]
            if wider
            else []
        ),
        f"{images} images; {100 * first.confidence:g} % interval of the paired difference: {first.method}; "
        f"p: {', '.join(used)}",
        *(["the intervals are not corrected for the number of pairs; the p-values are"] if len(pairs) > 1 else []),
        "A > B, <: number of images on which A is correct more often than B, and less often",
        *(["odds: (A > B, plus ½) / (<, plus ½); g: Cohen's g (0.05 small, 0.15 medium, 0.25 large)"] if sized else []),
    ]


def _verdict(pair: Pair) -> str:
    if not pair.apart:
        return f"{pair.a} and {pair.b} are statistically indistinguishable"
    better, worse = (pair.a, pair.b) if pair.found.difference.value > 0 else (pair.b, pair.a)
    return f"{better} is better than {worse}"
