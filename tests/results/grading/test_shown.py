"""Tests that the grade is shown first: in the table, on the page, in reports, data frames and files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from purebench.boards.derived.effort_board import EFFORT, NOISE
from purebench.boards.effort_settings import EffortSettings
from purebench.leaderboards.charts.frame import of_defenses
from purebench.leaderboards.evidence.grade_text import UPPER_BOUND
from purebench.leaderboards.page import render
from purebench.leaderboards.table_files import comma_separated, latex, markdown
from purebench.leaderboards.terminal import print_board
from purebench.report import Report
from purebench.results.files.export import export_results
from purebench.results.grading.gathering import evidence_of
from purebench.results.grading.grade import grades
from purebench.results.ranking.rank import rank

from ladders import RUNGS, ladder_results, own_attack  # isort: skip
from reading import Page, table_rows, words  # isort: skip
from synthetic import make_board  # isort: skip


@pytest.fixture(scope="module")
def shown() -> Any:
    """Returns a board, its results, and a flat ladder of one row, with which the rows have the letters D and C."""
    flat = dict.fromkeys((NOISE, *RUNGS, "square"), 20)
    high, ladder = ladder_results(flat, own={"clean": 0, "apgd": 20}, row="high", images=200)
    low, _ = ladder_results(flat, own={"clean": 0, "apgd": 100}, row="low", images=200)
    board = make_board((), ("high", "low"), 200, 200, 1, effort=EffortSettings(images=200))
    board = replace(board, attacks=tuple(own_attack(name) for name in ("clean", "apgd")))
    return board, [high, low], {EFFORT: [ladder]}


def printed(board: Any, results: Any, companions: Any, width: int) -> str:
    file = io.StringIO()
    print_board(board, results, Console(file=file, width=width), companions=companions)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_has_a_column_of_grades(shown: Any, width: int) -> None:
    text = printed(*shown, width)
    assert "grade  robust accuracy" in text
    for name, letter in (("high", "D"), ("low", "C")):
        (line,) = (line for line in text.splitlines() if f" {name} " in line and "%" in line)
        after = line.replace("⚠", " ").split()
        assert after[after.index(name) + 1] == letter
    assert max(map(len, text.splitlines())) <= width


def test_below_the_table_is_a_line_for_each_reason_that_decides_a_grade(shown: Any) -> None:
    text = words(printed(*shown, 200))
    assert (
        "D convergence: the accuracy does not fall with effort, which is what gradient masking looks like (high)"
        in text
    )
    assert "C controls: no control rows were run (low)" in text  # it does not decide the D of the other row
    assert "no attack was written or searched" not in text  # a B decides no letter here
    assert f"robust accuracy: {UPPER_BOUND}" in text
    both = words(printed(shown[0], shown[1], {}, 200))
    assert "C controls: no control rows were run (all rows)" in both


def test_the_page_has_a_badge_first_in_each_row_and_all_reasons_with_commands_in_its_section(shown: Any) -> None:
    board, results, companions = shown
    page = Page(render(board, results, (), {}, companions=companions))
    _, rows = table_rows(page)
    assert [cells[1][1].split()[:3] for cells in rows] == [["grade", "D", "high"], ["grade", "C", "low"]]
    sections = {at["id"]: words(text) for at, text in page.all("article")}
    found = grades(results, evidence_of(results, companions))
    for name, grade in found.items():
        text = sections[f"defense-{name}"]
        assert text.index("Grade of this evaluation") < text.index("robust accuracy, at the picked")
        for part in grade.parts:
            assert f"{part.name} grade {part.letter}" in text
            for reason in part.reasons:
                assert words(reason.sentence) in text
                assert words(reason.cure) in text
        assert "an upper bound" in text
        assert "Gradient evaluations per image5" in text  # the records of the attack have 5 backwards an image


def test_the_page_and_the_table_agree_with_the_report(shown: Any) -> None:
    board, results, companions = shown
    report = Report(board, tuple(results), (), companions=companions)
    assert {name: grade.letter for name, grade in report.grades.items()} == {"high": "D", "low": "C"}
    assert [row.grade for row in report] == list(report.grades.values())
    assert "grade  robust accuracy" in repr(report)
    html = Page(report._repr_html_())
    assert [text for _, text in html.all("th")][:3] == ["", "grade", "defense"]


def test_files_and_data_frames_have_the_letters(shown: Any, tmp_path: Path) -> None:
    _, results, companions = shown
    evidence = evidence_of(results, companions)
    rows = rank(results, evidence)
    assert list(of_defenses(rows).set_index("defense")["grade"]) == ["D", "C"]
    assert [line["grade"] for line in csv.DictReader(io.StringIO(comma_separated(rows)))] == ["D", "C"]
    assert "| 1 | high | D | 90.0 " in markdown(rows)
    assert r"1 & high & D & 90.0 " in latex(rows, "caption")
    export_results(tmp_path, results, companions)
    data = json.loads((tmp_path / "grades.json").read_text(encoding="utf-8"))
    assert {name: one["grade"] for name, one in data.items()} == {"high": "D", "low": "C"}
    assert data == {name: grade.to_dict() for name, grade in grades(results, evidence).items()}


def test_results_that_are_not_evaluated_for_their_own_sake_have_no_grades(shown: Any, tmp_path: Path) -> None:
    export_results(tmp_path, shown[1], None)
    assert not (tmp_path / "grades.json").exists()
