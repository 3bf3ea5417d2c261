"""Writes the site: pages, data, downloads, styles and scripts. Nothing but the given results is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.leaderboards.page import TEMPLATES
from purebench.leaderboards.site.cards import Catalogue, slug
from purebench.leaderboards.site.details import p_values_by_row, row_details
from purebench.leaderboards.site.downloads import downloads
from purebench.leaderboards.site.pages import (
    Site,
    board_page,
    defense_pages,
    render_board,
    render_defense,
    render_index,
    render_text,
)
from purebench.leaderboards.site.payload import board_payload
from purebench.leaderboards.site.pictures import BoardPictures, clean_blocks, example_blocks, picture_folder
from purebench.leaderboards.site.source import BoardSource
from purebench.leaderboards.site.text import TEXTS, markdown_html

STATIC = Path(__file__).parent / "static"
PAGE_STYLE = TEMPLATES / "style.css"
MARK = ".purebench-site"
"""Marker file in the folder of a site; a folder without it is never replaced."""


def build_site(
    sources: Sequence[BoardSource],
    out: Path,
    catalogue: Catalogue,
    *,
    title: str = "purebench leaderboards",
    docs: str = "",
    changes: str = "",
    pictures: Mapping[str, BoardPictures] | None = None,
    started: Callable[[int], None] = lambda place: None,
) -> list[Path]:
    """Write the site into a folder; a site that was there is replaced.

    Args:
        sources: the boards, in the order of the index.
        out: the folder, which must be missing, empty, or an earlier site.
        catalogue: the cards of the defenses.
        title: title of the site.
        docs: address of the documentation; "" for none.
        changes: a list of changes in Markdown; "" for none.
        pictures: the sources of the pictures of each board that has any, by its name (`find_pictures`).
        started: called with the position of each board before it is written.

    Returns:
        The written files.

    Raises:
        PurebenchError: there is no board, two boards have one name, the folder is not empty and not a site, or a bundle
            changed.
    """
    check_out(out)
    _check_names(sources)
    docs = docs if not docs or docs.endswith("/") else f"{docs}/"
    texts = _texts(docs, changes)
    site = Site(title, docs, {name: heading for name, (heading, _) in texts.items()})
    try:
        if out.exists():
            shutil.rmtree(out)
        shutil.copytree(STATIC, out / "static")
        shutil.copyfile(PAGE_STYLE, out / "static" / "page.css")  # colours and marks of the page of one board
        (out / MARK).write_text("a site that purebench made; `purebench site build` replaces it\n", encoding="utf-8")
        (out / ".nojekyll").write_text("", encoding="utf-8")  # GitHub Pages serves the files as they are
        written = [_write(out / name, text) for name, text in _pages(site, sources, catalogue, texts)]
        for place, source in enumerate(sources):
            started(place)
            known = (pictures or {}).get(source.board.name, BoardPictures())
            written += [_write(out / name, text) for name, text in _data(source, catalogue, known)]
            written += [_write(out / name, text) for name, text in _pictures(source, known)]
    except OSError as error:
        raise PurebenchError(f"{out}: cannot be written ({error.strerror or error}).") from error
    return written


def check_out(out: Path) -> None:
    """Check that a site can be written to a folder.

    Raises:
        PurebenchError: it is a file, or a folder with other files.
    """
    if out.exists() and not out.is_dir():
        raise PurebenchError(f"--out: expected a folder, but {out} is a file; name another.")
    if out.exists() and any(out.iterdir()) and not (out / MARK).is_file():
        raise PurebenchError(
            f"--out: expected an empty folder or an earlier site, but {out} contains other files; name another."
        )


def _check_names(sources: Sequence[BoardSource]) -> None:
    if not sources:
        raise PurebenchError("site: expected at least one board with results, but got none; run a board first.")
    names = [slug(source.board.name) for source in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise PurebenchError(f"site: expected boards of different names, but two are named {twice!r}; leave one out.")


def _texts(docs: str, changes: str) -> dict[str, tuple[str, str]]:
    """Return the title and HTML of each page of text, by file name."""
    found = {
        f"{path.stem}.html": markdown_html(path.read_text(encoding="utf-8"), docs)
        for path in sorted(TEXTS.glob("*.md"), key=lambda path: path.stem != "methodology")
    }
    return found | ({"changes.html": markdown_html(changes, docs)} if changes else {})


def _pages(
    site: Site, sources: Sequence[BoardSource], catalogue: Catalogue, texts: dict[str, tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    defenses = defense_pages(sources, catalogue)
    yield "index.html", render_index(site, sources, defenses)
    yield from ((board_page(source), render_board(site, source)) for source in sources)
    yield from ((page.path, render_defense(site, page)) for page in defenses)
    yield from ((name, render_text(site, heading, html)) for name, (heading, html) in texts.items())


def _data(source: BoardSource, catalogue: Catalogue, pictures: BoardPictures) -> Iterator[tuple[str, str]]:
    name = slug(source.board.name)
    payload = board_payload(source, catalogue, pictures)
    yield f"data/{name}.js", script("board", payload)
    for ending, text in downloads(source, payload, catalogue).items():
        yield f"data/{name}.{ending}", text
    pairs = p_values_by_row(source.standing, [row.name for row in source.rows])
    for row in source.rows:
        yield f"data/{name}/{slug(row.name)}.js", script("row", row_details(row, pairs.get(row.name, [])))


def _pictures(source: BoardSource, pictures: BoardPictures) -> Iterator[tuple[str, str]]:
    """Yield one file for the clean images of each block, and one for each block of a row that has a bundle."""
    for block, clean in enumerate(clean_blocks(source, pictures)):
        yield f"{picture_folder(source.board.name)}/{block}.js", script("clean", clean)
    for row in pictures.bundles:
        for block, examples in enumerate(example_blocks(row, pictures)):
            yield f"{picture_folder(source.board.name, row)}/{block}.js", script("examples", examples)


def script(kind: str, data: Any) -> str:
    """Return a script that hands data to the page: files of JSON cannot be loaded from a folder without a server."""
    plain = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f'purebench.receive("{kind}", {plain});\n'


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path
