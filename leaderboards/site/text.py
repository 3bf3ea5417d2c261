"""Turns the site's texts from Markdown into HTML: methodology, glossary, and a list of changes."""

from __future__ import annotations

import re
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

TEXTS = Path(__file__).parent / "texts"


def markdown_html(text: str, docs: str) -> tuple[str, str]:
    """Convert a page of Markdown to its title and HTML.

    Markup in the text is escaped, headings get an id, and links to other pages of the documentation are kept only if
    there is an address for it.

    Args:
        text: The Markdown, which starts with a heading.
        docs: Address of the documentation with a `/` at its end; "" for none.

    Returns:
        The title, and the HTML of the rest.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    title = "Text"
    if tokens and tokens[0].type == "heading_open":
        title, tokens = tokens[1].content, tokens[3:]
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(tokens[place + 1].content))
        if token.children:
            token.children = _linked(token.children, docs)
    return title, parser.renderer.render(tokens, parser.options, {})


def anchor(heading: str) -> str:
    """Return the id of a heading, as mkdocs makes it.

    >>> anchor("Gradient modes")
    'gradient-modes'
    """
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _linked(tokens: list[Token], docs: str) -> list[Token]:
    """Return inline tokens whose links to pages of the documentation lead there, or are plain text without it."""
    kept: list[Token] = []
    dropped = 0
    for token in tokens:
        if token.type == "link_open":
            page = re.fullmatch(r"([\w-]+)\.md(#[\w-]+)?", str(token.attrGet("href")))
            if page and not docs:
                dropped += 1
                continue
            if page:
                token.attrSet("href", f"{docs}{page[1]}.html{page[2] or ''}")
        elif token.type == "link_close" and dropped:
            dropped -= 1
            continue
        kept.append(token)
    return kept
