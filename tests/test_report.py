"""A report's table, frame and picture say what the results say; its text cannot break out of the HTML."""

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
from purebench.execution import notebook_progress
from purebench.records.outcome import Outcome
from purebench.report import Report
from purebench.results.export import load_results


@pytest.fixture(scope="module")
def report() -> Report:
    """The committed results of fashion-quick."""
    results = load_results(bundled()["fashion-quick"].parent / "results")
    return Report(choose("fashion-quick", None, None), tuple(results), tuple("abcdefghij"), ("not-here",))


def only(report: Report, name: str) -> Report:
    return replace(report, results=tuple(result for result in report.results if result.name == name))


class Cells(HTMLParser):
    """The texts of a page's table cells, and whether every element is closed."""

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


def test_the_html_holds_every_estimate_and_is_well_formed(report: Report) -> None:
    page = Cells()
    page.feed(report._repr_html_())
    assert page.open == []
    for row in report.rows:
        assert row.robust is not None
        assert row.robust.percent() in page.cells
        for cell in row.cells:
            assert (cell.estimate.percent() if cell.estimate else "–") in page.cells
    assert "not run: file missing" not in report._repr_html_()  # not-here is no row of the board
    absent = replace(report, results=report.results[1:], left_out=(report.results[0].name,))
    assert "not run: file missing" in absent._repr_html_()


def test_what_a_board_says_of_itself_cannot_break_out(report: Report) -> None:
    titled = replace(report, board=replace(report.board, title="<script>alert(1)</script>"))
    assert "<script" not in titled._repr_html_()
    assert "&lt;script" in titled._repr_html_()


def test_the_drawn_interval_is_where_the_numbers_are(report: Report) -> None:
    html = only(report, "trades")._repr_html_()
    row = report["trades"]
    assert row.robust is not None
    found = re.search(r'd="M([\d.]+) 7H([\d.]+)" stroke="#17898f"', html)
    assert found is not None
    for drawn, end in zip(found.groups(), (row.robust.low, row.robust.high), strict=True):
        assert float(drawn) / 160 == pytest.approx(end, abs=1e-3)


def test_the_text_is_the_table_of_the_terminal_without_its_colours(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel has it
    told = repr(report)
    assert "\x1b" not in told
    assert max(len(line) for line in told.splitlines()) <= 100
    for row in report.rows:
        assert row.name in told


def test_one_defense_has_numbers_of_its_own_and_several_are_asked_by_name(report: Report) -> None:
    one = only(report, "vae")
    assert one.robust == one["vae"].robust == report["vae"].robust
    assert one.clean == report["vae"].clean
    assert (len(one), len(report)) == (1, len(report.results))
    with pytest.raises(PurebenchError, match="expected one defense, but got trades"):
        _ = report.robust
    with pytest.raises(PurebenchError, match="did you mean 'trades'"):
        _ = report["trade"]


def test_where_everything_failed_there_is_no_number(report: Report) -> None:
    """Neither as an estimate nor in a frame: 0 % would be a claim."""
    whole = only(report, "trades").results[0]
    attacks = [
        replace(attack, outcomes=(Outcome.ERRORED,) * len(attack.outcomes), draws=((),) * len(attack.outcomes))
        for attack in whole.attacks
    ]
    crashed = replace(report, results=(replace(whole, attacks=tuple(attacks)),))
    assert (crashed.robust, crashed.clean, crashed["trades"].rank) == (None, None, None)
    assert crashed.to_frame()[["robust", "robust_low", "robust_high", "clean", "rank"]].isna().all(axis=None)
    assert crashed.to_frame(attacks=True)["accuracy"].isna().all()


def test_its_rows_come_best_first(report: Report) -> None:
    assert [row.name for row in report] == [row.name for row in report.rows]
    assert len(list(report)) == len(report)


def test_a_row_is_a_few_words(report: Report) -> None:
    assert len(repr(report["trades"])) < 4000


def test_two_defenses_are_compared_on_the_same_images(report: Report) -> None:
    pair = report.compare("trades", "none")
    trades, none = report["trades"].robust, report["none"].robust
    assert trades is not None
    assert none is not None
    assert pair.found.difference.value == pytest.approx(trades.value - none.value)
    with pytest.raises(PurebenchError, match="did you mean 'trades'"):
        report.compare("trade", "none")


def test_the_frame_has_a_line_for_each_defense_and_the_same_numbers(report: Report) -> None:
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


def test_the_frame_of_attacks_has_one_for_each_pair(report: Report) -> None:
    frame = report.to_frame(attacks=True)
    assert len(frame) == len(report.rows) * len(report.board.attacks)
    table = frame.pivot(index="defense", columns="attack", values="accuracy")
    strongest = next(cell for cell in report["diffpure-ddpm"].cells if cell.attack == "apgd-exact")
    assert strongest.estimate is not None
    assert table.loc["diffpure-ddpm", "apgd-exact"] == strongest.estimate.value
    skipped = frame[(frame["defense"] == "diffpure-ddpm") & (frame["attack"] == "fmn")].iloc[0]
    assert math.isnan(skipped["accuracy"])
    assert "deterministic" in skipped["reason"]


def test_a_report_of_nothing_is_shown_all_the_same(report: Report) -> None:
    nothing = replace(report, results=())
    assert nothing._repr_html_()
    assert repr(nothing)
    assert len(nothing.to_frame()) == 0
    nothing.plot()


def test_the_plot_draws_the_intervals_and_is_a_picture_by_itself(report: Report) -> None:
    figure = report.plot()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [row.name for row in report.rows]
    bars = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2]
    for bar, row in zip(bars, report.rows, strict=True):
        assert row.robust is not None
        assert list(bar) == [100 * row.robust.low, 100 * row.robust.high]
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_the_plot_goes_into_axes_of_ones_own(report: Report) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots(1, 2)
    assert report.plot(axes[1]) is figure
    assert not axes[0].lines
    assert axes[1].lines


def test_it_writes_the_page(report: Report, tmp_path: Path) -> None:
    path = report.page(tmp_path / "board.html")
    assert "<html" in path.read_text(encoding="utf-8")
    with pytest.raises(PurebenchError, match="cannot be written"):
        report.page(tmp_path)


def test_without_pandas_the_cure_is_told(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pandas"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "purebench.leaderboards.frame", raising=False)
    with pytest.raises(PurebenchError, match=r"to_frame: needs pandas.*purebench\[notebook\]"):
        report.to_frame()


def test_progress_outside_a_notebook_is_lines_and_can_be_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    for wanted in (True, False):
        with notebook_progress.watching(wanted) as tell:
            tell(0, 3, None)
        assert ("0/3 jobs" in capsys.readouterr().err) is wanted
    assert not notebook_progress.in_notebook()
    assert (
        notebook_progress.bar(1, 3, "<b>")
        == '<div><progress value="1" max="3"></progress> 1 of 3 jobs, &lt;b&gt;</div>'
    )
