"""Tests that the documentation site builds in strict mode: missing links, anchors or pages fail."""

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
"""Main terms that the glossary must explain."""


@pytest.fixture
def quiet() -> Iterator[None]:
    """Restores the logging handlers and level that mkdocs changes."""
    logger = logging.getLogger("mkdocs")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


def built(docs: Path, out: Path) -> Path:
    """Builds the site from a folder of pages with our mkdocs.yml and returns its folder."""
    build(load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(out), strict=True))
    return out


def test_the_site_builds_in_strict_mode_and_loads_nothing_from_elsewhere(tmp_path: Path, quiet: None) -> None:
    site = built(ROOT / "docs", tmp_path / "site")
    pages = [path for path in site.glob("*.html") if path.name != "404.html"]
    assert {path.stem for path in pages} == {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert (site / "board.schema.json").read_text(encoding="utf-8") == board_json_schema()
    for page in pages:
        fetched = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(https?://[^"]*)"', page.read_text(encoding="utf-8")
        )
        assert fetched == [], page.name


def test_a_broken_link_fails_the_build(tmp_path: Path, quiet: None) -> None:
    """Shows that the test above fails if a link is broken."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for path in (ROOT / "docs").iterdir():
        (docs / path.name).write_bytes(path.read_bytes())
    (docs / "index.md").write_text("[gone](nowhere.md)", encoding="utf-8")
    with pytest.raises(Abort, match="strict"):
        built(docs, tmp_path / "site")


def test_the_glossary_explains_the_main_terms() -> None:
    explained = re.findall(r"\*\*([\w@ -]+)\*\*", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"))
    assert WORDS | {"estimate"} <= set(explained)


def test_every_page_is_in_the_menu_once() -> None:
    """Sections of the menu are mappings of a name to pages."""
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    inside = [value for entry in menu for value in entry.values()]
    listed = [page for value in inside for page in (value if isinstance(value, list) else [value])]
    assert len(listed) == len(set(listed))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
