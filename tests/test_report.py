"""Tests that the table, data frame and plot of a report show the estimates, and that its HTML is escaped."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from purebench.boards.bundled import bundled
from purebench.boards.selection import choose
from purebench.core.errors import PurebenchError
from purebench.execution.progress import notebook
from purebench.leaderboards.figure import intervals
from purebench.records.outcome import Outcome
from purebench.report import Report
from purebench.results.files.export import load_results


@pytest.fixture(scope="module")
def report() -> Report:
    """The committed results of fashion-quick."""
    results = load_results(bundled()["fashion-quick"].parent / "results")
    return Report(choose("fashion-quick", None, None), tuple(results), tuple("abcdefghij"), ("not-here",))


def only(report: Report, name: str) -> Report:
    return replace(report, results=tuple(result for result in report.results if result.name == name))


class Cells(HTMLParser):
    """Collects the texts of table cells and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("br", "path", "circle"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.cells[-1] += data


def test_the_html_contains_every_estimate_and_is_well_formed(report: Report) -> None:
    page = Cells()
    page.feed(report._repr_html_())
    assert page.open == []
    for row in report.rows:
        assert row.robust is not None
        assert row.robust.percent() in page.cells
        for cell in row.cells:
            assert (cell.estimate.percent() if cell.estimate else "–") in page.cells
    assert "not run: file missing" not in report._repr_html_()  # not-here is not a row of the board
    absent = replace(report, results=report.results[1:], left_out=(report.results[0].name,))
    assert "not run: file missing" in absent._repr_html_()


def test_the_title_of_a_board_is_escaped_in_html(report: Report) -> None:
    titled = replace(report, board=replace(report.board, title="<script>alert(1)</script>"))
    assert "<script" not in titled._repr_html_()
    assert "&lt;script" in titled._repr_html_()


def test_the_interval_is_drawn_from_its_low_to_its_high_end(report: Report) -> None:
    html = only(report, "trades")._repr_html_()
    row = report["trades"]
    assert row.robust is not None
    found = re.search(r'd="M([\d.]+) 7H([\d.]+)" stroke="#17898f"', html)
    assert found is not None
    for drawn, end in zip(found.groups(), (row.robust.low, row.robust.high), strict=True):
        assert float(drawn) / 160 == pytest.approx(end, abs=1e-3)


def test_repr_is_the_table_of_the_terminal_without_colours(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in the kernel of a notebook
    told = repr(report)
    assert "\x1b" not in told
    assert max(len(line) for line in told.splitlines()) <= 100
    for row in report.rows:
        assert row.name in told


def test_a_report_of_one_defense_has_its_estimates_and_a_report_of_several_needs_a_name(report: Report) -> None:
    one = only(report, "vae")
    assert one.robust == one["vae"].robust == report["vae"].robust
    assert one.clean == report["vae"].clean
    assert (len(one), len(report)) == (1, len(report.results))
    with pytest.raises(PurebenchError, match="expected one defense, but got trades"):
        _ = report.robust
    with pytest.raises(PurebenchError, match="did you mean 'trades'"):
        _ = report["trade"]


def test_a_defense_that_errored_on_every_image_has_no_estimate(report: Report) -> None:
    """Neither in the report nor in the data frame: an accuracy of 0 % would be a result."""
    whole = only(report, "trades").results[0]
    attacks = [
        replace(attack, outcomes=(Outcome.ERRORED,) * len(attack.outcomes), draws=((),) * len(attack.outcomes))
        for attack in whole.attacks
    ]
    crashed = replace(report, results=(replace(whole, attacks=tuple(attacks)),))
    assert (crashed.robust, crashed.clean, crashed["trades"].rank) == (None, None, None)
    assert crashed.to_frame()[["robust", "robust_low", "robust_high", "clean", "rank"]].isna().all(axis=None)
    assert crashed.to_frame(attacks=True)["accuracy"].isna().all()


def test_iterating_a_report_gives_its_rows_in_order(report: Report) -> None:
    assert [row.name for row in report] == [row.name for row in report.rows]
    assert len(list(report)) == len(report)


def test_the_repr_of_a_row_is_short(report: Report) -> None:
    assert len(repr(report["trades"])) < 4000


def test_two_defenses_are_compared_on_the_same_images(report: Report) -> None:
    pair = report.compare("trades", "none")
    trades, none = report["trades"].robust, report["none"].robust
    assert trades is not None
    assert none is not None
    assert pair.found.difference.value == pytest.approx(trades.value - none.value)
    with pytest.raises(PurebenchError, match="did you mean 'trades'"):
        report.compare("trade", "none")


def test_the_data_frame_has_one_line_per_defense_with_its_estimates(report: Report) -> None:
    frame = report.to_frame()
    assert list(frame["defense"]) == [row.name for row in report.rows]
    for (_, line), row in zip(frame.iterrows(), report.rows, strict=True):
        assert row.robust is not None
        assert (line["robust_low"], line["robust"], line["robust_high"]) == (
            row.robust.low,
            row.robust.value,
            row.robust.high,
        )
        assert line["rank"] == row.rank
        assert math.isnan(line["certified"])
    assert frame["robust"].dtype == float
    assert frame["rank"].dtype.name == "Int64"


def test_the_data_frame_of_attacks_has_one_line_per_defense_and_attack(report: Report) -> None:
    frame = report.to_frame(attacks=True)
    assert len(frame) == len(report.rows) * len(report.board.attacks)
    table = frame.pivot(index="defense", columns="attack", values="accuracy")
    strongest = next(cell for cell in report["diffpure-ddpm"].cells if cell.attack == "apgd-exact")
    assert strongest.estimate is not None
    assert table.loc["diffpure-ddpm", "apgd-exact"] == strongest.estimate.value
    skipped = frame[(frame["defense"] == "diffpure-ddpm") & (frame["attack"] == "fmn")].iloc[0]
    assert math.isnan(skipped["accuracy"])
    assert "deterministic" in skipped["reason"]


def test_an_empty_report_can_be_shown(report: Report) -> None:
    nothing = replace(report, results=())
    assert nothing._repr_html_()
    assert repr(nothing)
    assert len(nothing.to_frame()) == 0
    nothing.plot()


def test_the_plot_draws_the_intervals_and_renders_as_png(report: Report) -> None:
    figure = report.plot()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.name for row in report.rows]
    bars = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    for bar, row in zip(bars, report.rows, strict=True):
        assert row.robust is not None
        assert list(bar) == [100 * row.robust.low, 100 * row.robust.high]
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_the_plot_says_how_many_images_were_evaluated(report: Report) -> None:
    most, done = report.board.dataset.images, len(report.results[0].images)
    assert report.plot().axes[0].get_xlabel().endswith(f", {done} images")
    longer = replace(report.board, dataset=replace(report.board.dataset, images=most + 50))
    assert intervals(longer, report.rows).axes[0].get_xlabel().endswith(f", {done} of {most + 50} images")


def test_the_plot_is_drawn_into_given_axes(report: Report) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(1, 2)
    assert report.plot(axes[1]) is figure
    assert not axes[0].lines
    assert axes[1].lines


def test_page_writes_an_html_file(report: Report, tmp_path: Path) -> None:
    path = report.page(tmp_path / "board.html")
    assert "<html" in path.read_text(encoding="utf-8")
    with pytest.raises(PurebenchError, match="cannot be written"):
        report.page(tmp_path)


def test_a_missing_pandas_is_reported_with_the_extra_to_install(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pandas"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "purebench.leaderboards.charts.frame", raising=False)
    with pytest.raises(PurebenchError, match=r"to_frame: needs pandas.*purebench\[notebook\]"):
        report.to_frame()


def test_progress_outside_a_notebook_is_printed_and_can_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    for wanted in (True, False):
        with notebook.watching(wanted) as tell:
            tell(0, 3, None)
        assert ("0/3 jobs" in capsys.readouterr().err) is wanted
    assert not notebook.in_notebook()
    assert notebook.bar(1, 3, "<b>") == '<div><progress value="1" max="3"></progress> 1 of 3 jobs, &lt;b&gt;</div>'
