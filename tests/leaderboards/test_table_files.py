"""Tests the tables as files: escaped text in every format, and columns that say what a figure is of."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace

import pytest

from purebench.leaderboards.table_files import LATEX, MARKDOWN, attacks_comma_separated, cell, comma_separated
from purebench.results.ranking.rank import rank

from synthetic import cascaded  # isort: skip


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


def test_the_table_of_attacks_says_on_how_many_images_a_cascade_asked(build: SimpleNamespace) -> None:
    answers = cascaded({"clean": ["1"] * 40, "apgd": ["0"] * 38 + ["1"] * 2, "square": ["1"] * 40})
    _, _, results = build.results({"a": answers}, block=10, cascade=True)
    lines = list(csv.DictReader(io.StringIO(attacks_comma_separated(rank(results)))))
    assert [line["attack"] for line in lines] == ["clean", "apgd", "square"]
    assert [line["accuracy"] for line in lines] == ["1.0", "0.05", "1.0"]
    assert [(line["images"], line["spared"]) for line in lines] == [("40", "0"), ("40", "0"), ("2", "38")]


def test_the_table_of_rows_has_the_intervals_of_the_ranks(build: SimpleNamespace) -> None:
    answers = {name: {"clean": ["1"] * 60, "apgd": ["1"] * n + ["0"] * (60 - n)} for name, n in (("a", 50), ("b", 5))}
    first, second = csv.DictReader(io.StringIO(comma_separated(rank(build.results(answers, block=10)[2]))))
    assert [(line["rank_low"], line["rank_high"], line["rank_images"]) for line in (first, second)] == [
        ("1", "1", "60"),
        ("2", "2", "60"),
    ]
