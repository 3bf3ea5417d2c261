"""Tests that text in tables is escaped in every format: no formulas, markup or commands."""

from __future__ import annotations

import pytest

from purebench.leaderboards.table_files import LATEX, MARKDOWN, cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =HYPERLINK(1)", "\t=1"])
def test_text_that_begins_like_a_formula_is_escaped(text: str) -> None:
    assert cell(text)[0] == "'"


@pytest.mark.parametrize("text", ["plain", "a=b", "x-1", "1+1"])
def test_other_text_is_unchanged(text: str) -> None:
    assert cell(text) == text


def test_numbers_are_unchanged() -> None:
    assert cell(-0.5) == "-0.5"


def test_special_characters_of_latex_and_markdown_are_escaped() -> None:
    assert "a_b & 5 % \\input{x}".translate(LATEX) == r"a\_b \& 5 \% \textbackslash{}input\{x\}"
    assert "a|b <i> [x](y) `c`".translate(MARKDOWN) == r"a\|b \<i\> \[x\](y) \`c\`"
