"""Text of a table is text in every format: no formula, no markup, no command."""

from __future__ import annotations

import pytest

from purebench.leaderboards.table_files import LATEX, MARKDOWN, cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "  =HYPERLINK(1)", "\t=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert cell(text)[0] == "'"


@pytest.mark.parametrize("text", ["plain", "a=b", "x-1", "1+1"])
def test_other_text_stays(text: str) -> None:
    assert cell(text) == text


def test_numbers_stay_numbers() -> None:
    assert cell(-0.5) == "-0.5"


def test_specials_are_escaped() -> None:
    assert "a_b & 5 % \\input{x}".translate(LATEX) == r"a\_b \& 5 \% \textbackslash{}input\{x\}"
    assert "a|b <i> [x](y) `c`".translate(MARKDOWN) == r"a\|b \<i\> \[x\](y) \`c\`"
