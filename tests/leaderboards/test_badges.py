"""Tests that every table, page and file of a board shows the badge of each row."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from verdict_builder import verdict_about

from purebench.cli.main import app
from purebench.core.terminal_output import make_console
from purebench.leaderboards.badge_text import verification_text
from purebench.leaderboards.charts.frame import of_defenses
from purebench.leaderboards.html import table
from purebench.leaderboards.page import render
from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue
from purebench.leaderboards.site.source import board_source
from purebench.leaderboards.table_files import comma_separated, latex, markdown
from purebench.leaderboards.terminal import print_board
from purebench.results.files.challenge_history import Bound, Decided, Submitted, identity
from purebench.results.files.challenge_writing import append
from purebench.results.files.export import export_results, load_results
from purebench.results.files.verdicts import Badge, RowBadge, load_badges, record_verdict
from purebench.results.ranking.rank import rank

from picture_bundles import Pictured, pictured_board  # isort: skip
from reading import words  # isort: skip
from synthetic import make_results  # isort: skip

ROWS = {
    "sure": Badge.VERIFIED,
    "half": Badge.REPRODUCED,
    "wrong": Badge.REFUTED,
    "open": Badge.UNDECIDED,
    "new": Badge.UNVERIFIED,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Board, results and folder of rows with one badge each."""
    folder = tmp_path_factory.mktemp("published")
    given = {name: {"clean": ["1"] * 40, "apgd": ["1"] * 20 + ["0"] * 20} for name in ROWS}
    board, _, results = make_results(given, name="badges")
    export_results(folder, results)
    for result in results:
        if ROWS[result.name] is not Badge.UNVERIFIED:
            record_verdict(folder, result.name, verdict_about(result, ROWS[result.name]))
    return board, results, folder


@pytest.fixture(scope="module")
def badges(published):
    _, results, folder = published
    found = load_badges(folder, results)
    assert {name: one.badge for name, one in found.items()} == ROWS
    return found


def test_tables_in_files_have_the_badge_of_each_row(published, badges):
    _, results, _ = published
    rows = rank(results)
    lines = csv.DictReader(io.StringIO(comma_separated(rows, badges)))
    assert {line["defense"]: line["verification"] for line in lines} == ROWS
    texts = {name: (markdown(rows, given), latex(rows, "x", given)) for name, given in (("all", badges), ("no", None))}
    for name, badge in ROWS.items():
        for text in texts["all"]:
            (line,) = [one for one in text.splitlines() if f" {name} " in one]
            assert line.rstrip(" |\\").endswith(badge)
        for text in texts["no"]:
            (line,) = [one for one in text.splitlines() if f" {name} " in one]
            assert line.rstrip(" |\\").endswith("unverified")
    lines = csv.DictReader(io.StringIO(comma_separated(rows)))
    assert {line["verification"] for line in lines} == {"unverified"}


def test_the_page_and_the_terminal_have_the_badge_of_each_row(published, badges, capsys):
    board, results, _ = published
    told = (
        "verification: sure verified; half examples reproduced, attacks not re-run; open undecided; wrong refuted; new "
        "unverified"
    )
    assert sorted(told.removeprefix("verification: ").split("; ")) == sorted(
        verification_text(rank(results), badges).removeprefix("verification: ").split("; ")
    )
    print_board(board, results, make_console(width=100), badges=badges)
    shown = " ".join(capsys.readouterr().out.split())
    html = render(board, results, (), {}, badges=badges)
    page = words(html)
    for name, badge in ROWS.items():
        assert f"{name} {badge}" in shown
        assert f"{name} {badge}" in page
    tags = re.findall(r'recorded, and its verdict">([^<]+)<', html)
    assert tags == [ROWS[row.name] for row in rank(results)]


def test_a_report_is_unverified(published):
    board, results, _ = published
    assert set(of_defenses(rank(results))["verification"]) == {"unverified"}
    assert "all rows are unverified" in table(board, rank(results))


def test_a_site_has_the_badges_on_its_index_and_in_its_downloads(published, tmp_path):
    board, results, folder = published
    source = board_source(board, folder, results)
    build_site([source], tmp_path / "site", Catalogue())
    index = words((tmp_path / "site" / "index.html").read_text(encoding="utf-8"))
    for row in source.rows[:3]:
        assert ROWS[row.name] in index
    data = tmp_path / "site" / "data"
    lines = csv.DictReader(io.StringIO((data / "badges.csv").read_text(encoding="utf-8")))
    assert {line["defense"]: line["verification"] for line in lines} == ROWS
    entries = json.loads((data / "badges.json").read_text(encoding="utf-8"))["rows"]
    assert {row["name"]: row["badge"] for row in entries} == ROWS
    for name, badge in ROWS.items():
        assert f"& {badge} " in next(
            line for line in (data / "badges.tex").read_text(encoding="utf-8").splitlines() if f"& {name} &" in line
        )
        page = words((tmp_path / "site" / "defenses" / f"{name}.html").read_text(encoding="utf-8"))
        assert badge in page
        assert ("Remarks of the verification" in page) == (name != "new")
        assert ("a remark" in page) == (name != "new")  # of the verdict


def test_a_sentence_names_all_rows_but_those_of_the_most_frequent_badge(published):
    _, results, _ = published
    rows = rank(results)
    one = {"half": RowBadge(Badge.VERIFIED)}
    assert verification_text(rows, one) == "verification: half verified; the other 4 rows unverified"
    four = {name: RowBadge(Badge.VERIFIED) for name in ROWS if name != "new"}
    assert verification_text(rows, four) == "verification: new unverified; the other 4 rows verified"
    every = {name: RowBadge(Badge.VERIFIED) for name in ROWS}
    assert verification_text(rows, every) == "verification: all rows are verified"


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> tuple[Pictured, Path]:
    folder = tmp_path_factory.mktemp("stored")
    return pictured_board(folder), folder / "store.sqlite"


def test_export_shows_the_verdicts_beside_the_published_results(stored, tmp_path):
    board, store = stored
    (result,) = [one for one in load_results(board.results) if one.name == "none"]
    record_verdict(board.results, "none", verdict_about(result))

    def exported(*options):
        asked = ["export", "small", "--store", str(store), "--out", str(tmp_path), "--format", "csv,md,card,model-info"]
        done = CliRunner().invoke(app, [*asked, *options])
        assert done.exit_code == 0, done.output
        lines = csv.DictReader(io.StringIO((tmp_path / "small.csv").read_text(encoding="utf-8")))
        cards = {name: (tmp_path / "cards" / f"{name}.md").read_text(encoding="utf-8") for name in board.bundles}
        entries = {
            path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in (tmp_path / "model_info").rglob("*.json")
        }
        return {line["defense"]: line["verification"] for line in lines}, cards, entries

    found, cards, entries = exported("--results", str(board.results))
    assert found == {"none": "verified", "blur": "unverified"}
    assert "| verification | verified |" in cards["none"]
    assert "| verification | unverified |" in cards["blur"]
    assert entries["none"]["footnote"].endswith("Verification by purebench: verified.")
    assert entries["blur"]["footnote"].endswith("Verification by purebench: unverified.")
    assert exported()[0] == {"none": "unverified", "blur": "unverified"}
    wrong = CliRunner().invoke(app, ["export", "small", "--store", str(store), "--results", str(tmp_path / "no")])
    assert "is not a folder" in str(wrong.exception)


def test_export_shows_the_challenges_beside_the_published_results(stored, tmp_path):
    board, store = stored
    shutil.copytree(board.results, tmp_path / "results")
    (result,) = [one for one in load_results(board.results) if one.name == "none"]
    bound = Bound(0.01, 0.0, 0.2, 0.95, len(result.images), "gaffke")
    event = Submitted(1, identity(result), "none", "A. Name", "", "f", 1, 0.03, 7, "2026-01-01T00:00:00+00:00")
    append(tmp_path / "results", event)
    append(tmp_path / "results", Decided(1, event.defense, True, 0.001, 9, 1, 3, bound, bound, "e"))

    def best_known(*options):
        asked = ["export", "small", "--store", str(store), "--out", str(tmp_path / "out"), "--format", "csv"]
        done = CliRunner().invoke(app, [*asked, *options])
        assert done.exit_code == 0, done.output
        lines = csv.DictReader(io.StringIO((tmp_path / "out" / "small.csv").read_text(encoding="utf-8")))
        return {line["defense"]: line["best_known"] for line in lines}

    challenged, alone = best_known("--results", str(tmp_path / "results")), best_known()
    assert challenged["none"] == "0.01"
    assert alone["none"] != "0.01"
    assert challenged["blur"] == alone["blur"]
