"""The command `purebench export`: writes a store's results of a board as files for other programs and for papers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from purebench.core.errors import PurebenchError, did_you_mean

FORMATS = ("npz", "png", "md", "tex", "csv", "bib", "model-info", "card")


def export(
    board: Annotated[str, typer.Argument(help="The board's name in the store, or the path of its board.yaml.")],
    store: Annotated[Path | None, typer.Option("--store", help="SQLite file. Default: the user's data folder.")] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help=("Folder to write into; files of an earlier export of this board are deleted.")
        ),
    ] = Path("exported"),
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help=(
                "Comma-separated list of npz, png (adversarial examples), md, tex, csv (the table; csv also writes "
                "that of the attacks), bib (citations), model-info (RobustBench's JSON of each deterministic row) and "
                "card (metadata and text of each row for a model card of the Hugging Face Hub)."
            ),
        ),
    ] = "npz,md,tex,csv,bib",
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which the results are published, whose verdicts (purebench verify --record) and accepted "
            "challenges the tables show. Default: none, and all rows are unverified."
        ),
    ] = None,
) -> None:
    """Write the adversarial examples, the table and the citations of a board that was run; runs nothing.

    Example: purebench export fashion-quick -o exported --format npz,csv
    Example: purebench export fashion-quick -o exported --format model-info,card
    """
    from purebench.boards.selection import stored_name
    from purebench.cli.model_files import model_cards, model_infos
    from purebench.cli.output.citations import bibtex
    from purebench.cli.output.export_manifest import ExportManifest
    from purebench.cli.output.image_export import export_images
    from purebench.core.files.places import default_store
    from purebench.core.terminal_output import complain, printable
    from purebench.leaderboards.table_files import attacks_comma_separated, comma_separated, latex, markdown
    from purebench.records.provenance import versions
    from purebench.records.store import reading
    from purebench.results.files.challenge_history import read_history
    from purebench.results.files.companions import companions_in_store
    from purebench.results.files.export import with_challenges, write_files
    from purebench.results.files.stored_board import from_store, unlisted
    from purebench.results.files.verdicts import load_badges
    from purebench.results.grading.gathering import declared_controls, evidence_of
    from purebench.results.merge import merge
    from purebench.results.ranking.rank import rank

    asked = chosen(formats)
    if out.exists() and not out.is_dir():
        raise PurebenchError(f"--out: expected a folder, but {out} is a file; name another.")
    if results is not None and not results.is_dir():
        raise PurebenchError(f"--results: expected the folder of published results, but {results} is not a folder.")
    path = store or default_store()
    name = stored_name(board)
    found, records = from_store(path, name)
    merged = merge(found, records)
    if results is not None:
        history = read_history(results)
        merged = [with_challenges(one, history) for one in merged]
    evidence = evidence_of(merged, companions_in_store(path, found), declared_controls(found))
    rows = rank(merged, evidence, found.origin)
    badges = load_badges(results, merged)
    names = [defense.use.name for defense in found.shown]
    texts: dict[str, Callable[[], str]] = {
        "md": lambda: markdown(rows, badges),
        "tex": lambda: latex(rows, f"{found.title}: robust accuracy and its interval.", badges),
        "csv": lambda: comma_separated(rows, badges),
        "attacks.csv": lambda: attacks_comma_separated(rows),
        "bib": lambda: bibtex(names, versions()["purebench"]),
    }
    written = {out / f"{name}.{kind}": make() for kind, make in texts.items() if kind.split(".")[-1] in asked}
    refused: list[str] = []
    of_rows: dict[str, Callable[[], tuple[dict[Path, str], list[str]]]] = {
        "model-info": lambda: model_infos(rows, out, badges),
        "card": lambda: model_cards(rows, found, out, badges),
    }
    for kind in sorted(asked & set(of_rows)):
        files, reasons = of_rows[kind]()
        written |= files
        refused += [f"no {kind}: {reason}" for reason in reasons]
    before = ExportManifest.of(out, name)  # raises for the folder of another board
    write_files(written)
    images = asked & {"npz", "png"}
    pictures: list[Path] = []
    try:
        if images:
            counted = {result.name: set(result.images) for result in merged}  # those behind the table
            kept = [one for one in records if one.covered_by(counted.get(one.defense, set()))]
            with reading(path) as saved:
                pictures = export_images(saved, found, kept, out / "adversarial", images)
        before.replace_by([*written, *pictures], records)
    except OSError as error:
        raise PurebenchError(f"{out}: cannot be written ({error.strerror or error}).") from error
    for place in written:
        print(printable(f"wrote {place}"))
    complain([*refused, *unlisted(path, name)])
    if images:
        print(printable(f"wrote {len(pictures)} files of adversarial examples below {out / 'adversarial'}"))


def chosen(text: str) -> set[str]:
    """Parse a list of formats such as "npz,csv".

    Args:
        text: Formats with commas.

    Returns:
        The formats.

    Raises:
        PurebenchError: If there is none, or one is unknown.
    """
    found = [one.strip() for one in text.split(",") if one.strip()]
    for one in found:
        if one not in FORMATS:
            raise PurebenchError(f"--format: {one!r} is unknown; {did_you_mean(one, FORMATS)}")
    if not found:
        raise PurebenchError(f"--format: expected at least one of {', '.join(FORMATS)}, but got none.")
    return set(found)
