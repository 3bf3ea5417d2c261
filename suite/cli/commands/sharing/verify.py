"""The command `purebench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import OneDeviceOption

TrustBundle = Annotated[
    bool, typer.Option("--trust", help="Run the Python files that the bundle names; read them first.")
]
CodeOption = Annotated[
    Path | None,
    typer.Option(help="Folder of the Python files that the bundle names. Default: the folder of the bundle."),
]


def verify(
    bundle: Annotated[Path, typer.Argument(help="A bundle, which purebench bundle wrote.")],
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the verification. Default: a random one, which the author cannot have known."),
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            help="Repeat the attacks on a random sample with about N images that the bundle calls robust.", min=1
        ),
    ] = 20,
    attacks: Annotated[
        bool,
        typer.Option("--attacks/--no-attacks", help="Whether the attacks are repeated; without them it takes seconds."),
    ] = True,
    board: Annotated[
        str | None,
        typer.Option(
            "--board",
            help="The board that the bundle is submitted to, bundled or the path of a board.yaml: its settings must be "
            "the same. Default: the bundled board of the same name.",
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Record the verdict in this folder of results, where pages and `show` read the badge."),
    ] = None,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish",
            help="With --record: unless it is refuted, first write the bundle's result into the folder, in place of "
            "the row's present one. A refuted bundle leaves its verdict alone.",
        ),
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write the report to this file, as Markdown.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON instead of the report.")] = False,
    code: CodeOption = None,
    device: OneDeviceOption = "cpu",
    trust: TrustBundle = False,
) -> None:
    """Verify a bundle: check it, query its defense again, and repeat the attacks on some images.

    Exit code 0: verified; 1: refuted; 3: undecided; 2: the bundle is invalid. docs/verification.md describes the
    statistics.

    Example: purebench verify trades.zip --images 20

    Example: purebench verify trades.zip --no-attacks --record my-results
    """
    import secrets

    from rich.text import Text

    from purebench.checks.verification import report as reports
    from purebench.checks.verification.verification import MOST_SEED, verify_bundle
    from purebench.cli.progress import progress_bar
    from purebench.core.errors import PurebenchError
    from purebench.core.terminal_output import make_console, printable
    from purebench.results.files.bundles.bundle import read_bundle
    from purebench.results.files.companions import load_companions
    from purebench.results.files.export import as_json, export_results, write_files
    from purebench.results.files.verdicts import check_published, record_verdict
    from purebench.statistics.reproduction import Conclusion

    if publish and record is None:
        raise PurebenchError("--publish: expected the folder of results; add --record FOLDER.")
    if record is not None and record.exists() and not record.is_dir():
        raise PurebenchError(f"--record: expected a folder of results, but {record} is a file; name another.")
    if record is not None and not publish:  # before the queries, which take long
        read = read_bundle(bundle)
        check_published(record, read.result.name, read.result_hash)
    chosen = secrets.randbelow(MOST_SEED + 1) if seed is None else seed
    with progress_bar(f"verify {bundle.name}") as tell:
        found = verify_bundle(
            bundle,
            seed=chosen,
            images=images,
            attacks=attacks,
            board=board,
            code=code,
            device=device,
            trust=trust,
            tell=tell,
        )
    place = None if device == "cpu" else device
    again = reports.repeat(found, str(bundle), board=board, code=code, device=place, trust=trust)
    if json:
        print(as_json(reports.as_plain(found)), end="")
    else:
        console = make_console()
        console.print(reports.report(found))
        console.print(Text(printable(f"repeat it: {again}"), style="dim"), soft_wrap=True)  # in one line, to copy
    if report is not None:
        write_files({report: reports.markdown(found, again)})
    if record is not None:
        refuted = found.conclusion is Conclusion.REFUTED
        if publish and not refuted:
            export_results(record, [found.bundle.result], load_companions(record, [found.bundle.result]))
        kept = record_verdict(record, found.bundle.result.name, found.verdict(), beside=not (publish and refuted))
        typer.echo(printable(f"verdict: {kept}"), err=json)
    raise typer.Exit(reports.EXIT_CODES[found.conclusion])
