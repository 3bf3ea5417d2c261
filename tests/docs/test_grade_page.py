"""Tests that the tables of docs/grade.md contain the thresholds and faults of the code, and nothing else."""

from __future__ import annotations

from purebench.results.grading.criteria.letters import Code, Letter
from purebench.results.grading.criteria.thresholds import FAULTS, THRESHOLDS, Threshold

from blocks import ROOT  # isort: skip

TEXT = (ROOT / "docs" / "grade.md").read_text(encoding="utf-8")


def table(first: str) -> list[list[str]]:
    """Returns the rows of the table whose heading begins with these cells."""
    lines = TEXT[TEXT.index(first) :].splitlines()[2:]
    rows = lines[: next(place for place, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def written(threshold: Threshold) -> list[str]:
    bound = "at least" if threshold.at_least else "at most"
    texts = {letter: f"{bound} {threshold.text(limit)}" for letter, limit in threshold.limits.items()}
    return [f"`{threshold.code}`", threshold.quantity, *(texts.get(letter, "–") for letter in Letter if letter != "F")]


def test_the_table_of_numbers_is_that_of_the_code() -> None:
    assert table("| criterion | number |") == [written(threshold) for threshold in THRESHOLDS]


def test_the_table_of_faults_is_that_of_the_code() -> None:
    assert table("| criterion | fault |") == [[f"`{one.code}`", one.condition, str(one.letter)] for one in FAULTS]


def test_every_criterion_is_in_a_table() -> None:
    assert {one.code for one in (*THRESHOLDS, *FAULTS)} == set(Code)


def test_the_papers_of_the_criteria_are_cited() -> None:
    for number in ("1902.06705", "2002.08347", "2106.09947", "2202.13711"):
        assert f"https://arxiv.org/abs/{number}" in TEXT
