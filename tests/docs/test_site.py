"""The site is built strictly: a link, an anchor or a page that is not there fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from purebench.boards.json_schema import board_json_schema

from blocks import ROOT  # isort: skip

WORDS = {
    "classifier",
    "purifier",
    "defense",
    "draw",
    "view",
    "attack",
    "threat",
    "block",
    "attack job",
    "worst-case job",
    "record",
    "board",
}
"""The words of the design, which the glossary explains."""


@pytest.fixture
def quiet() -> Iterator[None]:
    """mkdocs leaves handlers and levels behind."""
    logger = logging.getLogger("mkdocs")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


def built(docs: Path, out: Path) -> Path:
    """The site from a folder of pages, by our mkdocs.yml."""
    build(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(out), strict=True))
    return out


def test_it_builds_strictly_and_needs_nothing_from_elsewhere(tmp_path: Path, quiet: None) -> None:
    site = built(ROOT / "docs", tmp_path / "site")
    pages = [path for path in site.glob("*.html") if path.name != "404.html"]
    assert {path.stem for path in pages} == {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert (site / "board.schema.json").read_text(encoding="utf-8") == board_json_schema()
    for page in pages:
        fetched = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"', page.read_text(encoding="utf-8")
        )
        assert fetched == [], page.name


def test_a_link_to_nowhere_fails(tmp_path: Path, quiet: None) -> None:
    """What the test above is worth."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for path in (ROOT / "docs").iterdir():
        (docs / path.name).write_bytes(path.read_bytes())
    (docs / "index.md").write_text("[gone](nowhere.md)", encoding="utf-8")
    with pytest.raises(Abort, match="strict"):
        built(docs, tmp_path / "site")


def test_the_glossary_explains_every_word_of_the_design() -> None:
    explained = re.findall(r"\*\*([\w@ -]+)\*\*", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))
    assert WORDS | {"estimate"} <= set(explained)


def test_every_page_is_in_the_menu_once() -> None:
    """Sections are mappings of a name to pages."""
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    inside = [value for entry in menu for value in entry.values()]
    listed = [page for value in inside for page in (value if isinstance(value, list) else [value])]
    assert len(listed) == len(set(listed))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
