"""Tests that the glossary explains every outcome, warning and gradient mode, and the main terms of the docs."""

from __future__ import annotations

import re

import pytest

from purebench.core.registry import installed
from purebench.core.warning_codes import WarningCode
from purebench.records.outcome import Outcome

from blocks import ROOT  # isort: skip

TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def entries(heading: str) -> set[str]:
    """Returns the words in the first column of the table below a heading."""
    part = TEXT.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    return {word for line in part.splitlines() if line.startswith("|") for word in re.findall("`([^`]+)`", first(line))}


def first(line: str) -> str:
    return line.split("|")[1]


def words() -> set[str]:
    """Returns the words in bold, in the first column of the main table or within an explanation."""
    return set(re.findall(r"\*\*([^*]+)\*\*", TEXT))


def test_every_outcome_is_explained() -> None:
    assert entries("Outcomes") == {outcome.value for outcome in Outcome}


def test_every_gradient_mode_is_explained() -> None:
    own = {name for name, point in installed("views").items() if point.value.startswith("purebench.")}
    assert entries("Gradient modes") == own


def test_every_warning_is_explained() -> None:
    assert entries("Warnings") == {code.value for code in WarningCode}


@pytest.mark.parametrize(
    "word",
    [
        *("surrogate", "knowledge", "gradient mode", "draw", "block", "board", "resubmission@N", "vote@K", "bracket"),
        *("pick", "EOT samples", "BPDA", "cascade", "source", "spec", "store", "key", "fresh draws", "alike", "row"),
        *("grade", "integrity", "attack adequacy", "precision", "control", "convergence", "bespoke", "best known"),
        *("common suite", "upper bound"),
        *("verification", "certificate", "gradient masking", "worst case", "strongest attack", "probe", "view"),
    ],
)
def test_the_main_terms_of_the_docs_are_explained(word: str) -> None:
    assert word in words()


def test_no_word_is_explained_twice() -> None:
    heads = [
        one
        for line in TEXT.splitlines()
        if line.startswith("| **")
        for one in re.findall(r"\*\*(.+?)\*\*", first(line))
    ]
    assert len(heads) == len(set(heads)) > 40
