"""The commands `purebench site build` and `purebench site serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Build a static leaderboard site from results, and look at it.")

DEFAULT_PORT = 8000


@app.command()
def build(
    boards: Annotated[
        list[str] | None,
        typer.Option(
            "--boards",
            help="A bundled board, a folder of results (purebench run --results), or a folder of such folders; may be "
            "repeated. Default: all bundled boards with results.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the site; an earlier site in it is replaced.")
    ] = Path("site"),
    title: Annotated[str, typer.Option(help="Title of the site.")] = "purebench leaderboards",
    docs: Annotated[
        str,
        typer.Option(help="Address of the documentation, absolute or relative to the site; default: no links."),
    ] = "",
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            "--pictures",
            help="A bundle (purebench bundle), or a folder of bundles, whose adversarial examples are shown as "
            "pictures; may be repeated.",
        ),
    ] = None,
    compute_ranks: Annotated[
        bool,
        typer.Option(
            "--compute-ranks",
            help="Compute the ranks of boards of 100 and more rows, which takes minutes; do not read ranks.json.",
        ),
    ] = False,
    changes: Annotated[
        Path | None, typer.Option(help="A list of changes in Markdown, which becomes a page of the site.")
    ] = None,
) -> None:
    """Write a static site of boards from their results; needs no images, models or network.

    Example: purebench site build --boards fashion-quick --out site

    Example: purebench site build --boards my-results --pictures trades.zip --out site
    """
    from purebench.cli.commands.sharing.site_boards import load_source, results_folders
    from purebench.cli.commands.sharing.site_cards import MOST_BYTES, catalogue
    from purebench.cli.commands.sharing.site_pictures import bundle_files
    from purebench.cli.progress import progress_bar
    from purebench.core.files.text import counted, read_text
    from purebench.core.terminal_output import complain, printable
    from purebench.leaderboards.site.build import build_site, check_out
    from purebench.leaderboards.site.pictures import find_pictures

    check_out(out)
    bundles, optional = bundle_files(pictures or [])
    folders = results_folders(boards or [])
    text = "" if changes is None else read_text(changes, MOST_BYTES)
    sources = []
    with progress_bar("ranking boards") as told:
        for place, folder in enumerate(folders):
            told("ranking boards", place, len(folders))
            sources.append(load_source(folder, compute=compute_ranks))
        known = catalogue(sources)
        shown = find_pictures(sources, bundles, optional)

        def started(place: int) -> None:
            told("writing boards", place, len(folders))

        written = build_site(sources, out, known, title=title, docs=docs, changes=text, pictures=shown, started=started)
    rows = sum(len(source.rows) for source in sources)
    contents = f"{counted(len(sources), 'board')}, {counted(rows, 'row')}"
    if bundles:
        contents += f", pictures of {counted(sum(len(one.bundles) for one in shown.values()), 'row')}"
    complain(f"{one.board.name}: {one.ranks_text}; --compute-ranks computes them" for one in sources if one.ranks_text)
    print(printable(f"wrote {len(written)} files: {contents}; open {out / 'index.html'}"))


@app.command()
def serve(
    folder: Annotated[Path, typer.Argument(help="Folder of the site.")] = Path("site"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")] = DEFAULT_PORT,
) -> None:
    """Serve a site on this machine only, until Ctrl+C; its pages can also be opened as files.

    Example: purebench site serve site
    """
    from purebench.leaderboards.site.serve import site_server

    with site_server(folder, port) as server:
        host, number = server.server_address[:2]
        print(f"serving {folder} at http://{host!s}:{number}/ until Ctrl+C", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
