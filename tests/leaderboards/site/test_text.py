"""Tests the pages of text: tables and anchors of Markdown, links to the documentation, no markup of other authors."""

import pytest

from purebench.leaderboards.site.text import TEXTS, anchor, markdown_html

from reading import Page  # isort: skip


def test_headings_have_ids_that_links_reach():
    title, html = markdown_html("# Title\n\n## Gradient modes\n\n[here](#gradient-modes)\n", "")
    assert title == "Title"
    assert '<h2 id="gradient-modes">' in html
    assert anchor("Papers' figures, MV & more") == "papers-figures-mv-more"


def test_links_to_other_pages_lead_to_the_documentation_or_are_plain_text():
    text = "# T\n\nsee [the grade](grade.md#letters) and [paper](https://arxiv.org/abs/1)\n"
    assert 'href="docs/grade.html#letters"' in markdown_html(text, "docs/")[1]
    without = markdown_html(text, "")[1]
    assert "see the grade and" in without
    assert without.count("<a ") == 1


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "<img src=x onerror=x>", "[x](javascript:alert(1))"])
def test_markup_and_scripts_are_escaped(text):
    html = markdown_html(f"# T\n\n{text}\n", "")[1]
    assert not {"script", "img", "a"} & {tag for tag, _, _ in Page(html).elements}


@pytest.mark.parametrize("path", sorted(TEXTS.glob("*.md")), ids=lambda path: path.stem)
def test_own_texts_have_no_broken_anchor(path):
    html = markdown_html(path.read_text(encoding="utf-8"), "docs/")[1]
    page = Page(html)
    ids = {at["id"] for _, at, _ in page.elements if "id" in at}
    inner = {at["href"][1:] for at, _ in page.all("a") if at["href"].startswith("#")}
    assert inner <= ids
    assert len(page.elements) > 20
