"""Tests the table in a terminal: its width, numbers, bars and marks."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from purebench.boards.board import Stop

from synthetic import merge  # isort: skip
from purebench.core.files.text import duration
from purebench.leaderboards.terminal import axis, draw, print_board
from purebench.records.outcome import Outcome
from purebench.results.ranking.rank import rank
from purebench.statistics import Estimate


def shown(board, results, width):
    file = io.StringIO()
    print_board(board, results, Console(file=file, width=width))
    return file.getvalue()


def estimate(value, low, high):
    return Estimate(value, low, high, 0.95, 100, "wilson")


@pytest.mark.parametrize("width", [80, 90, 100, 140])
def test_no_number_is_truncated_at_any_width(demo, width):
    text = shown(demo.board, demo.results, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for row in rank(demo.results):
        if row.rank:
            (line,) = (line for line in text.splitlines() if row.robust.percent() in line and row.name in line)
            letters = [row.ranks.letters] if width >= 90 else []
            assert line.split()[: 2 + len(letters)] == [row.ranks.text, *letters, row.name]
            assert f"{100 * row.clean.value:.1f} %" in line
            assert row.strongest in line


def test_the_heading_and_the_notes_explain_the_numbers(demo):
    text = shown(demo.board, demo.results, 100)
    assert "linf 16/255 · fashion-mnist · 256 images · 16 + 16 draws · 95 % confidence" in text
    assert "95 % intervals: Clopper–Pearson (deterministic), Gaffke (random)" in text
    assert "errored" in text
    assert "bounds with all of them wrong and all right; no rank" in " ".join(text.split())
    assert "192 of 256 images" in text
    errors = " ".join(text.split())
    assert "on 256 of 256 images: RuntimeError: size mismatch for decoder.0.weight: [64, 3] and [32, 3] !" in errors
    assert "! diffpure-t0.15: foolbox-deepfool on 64 of 256 images: OutOfMemoryError: no room" in errors
    assert errors.count("size mismatch") == 1
    assert "run again with --retry-errors" in errors
    assert "no finished block yet: styletransformer" in text
    assert "rank: simultaneous 95 % confidence interval" in text
    assert "ranks: compared on the 192 images that all rows have" in text


def test_brackets_of_random_defenses_are_in_one_note(demo):
    text = " ".join(shown(demo.board, demo.results, 100).split())
    (note,) = re.findall(
        r"bracket \(95 % confidence\) of the accuracy under the worst attack of each image: ([^!⚠]*)", text
    )
    rows = [row for row in rank(demo.results) if row.bracket]
    assert rows
    for row in rows:
        assert f"{row.name} {100 * row.bracket.low:.1f}–{100 * row.bracket.high:.1f} %" in note


def test_without_intervals_no_method_is_named(build):
    text = shown(*build.results({"plain": {"clean": [Outcome.ERRORED] * 4, "apgd": [Outcome.ERRORED] * 4}})[::2], 100)
    assert "errored" in text
    assert "intervals:" not in text


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0.0 s"), (89.9, "89.9 s"), (90, "1.5 min"), (5399, "90.0 min"), (5400, "1.5 h")]
)
def test_durations_are_in_seconds_minutes_or_hours(seconds, told):
    assert duration(seconds) == told


@pytest.mark.parametrize("width", [80, 100])
def test_a_stopped_run_is_shown_with_its_images_rule_and_saved_blocks(build, width):
    rule = {"half_width": 0.4}
    answers = {"plain": {"clean": ["1"] * 40}, "noisy": {"clean": ["1111"] * 40}}
    board, records, results = build.results(answers, block=10, stop=Stop(**rule))
    text = " ".join(shown(board, results, width).split())
    images = len(results[0].images)
    assert 0 < images < 40
    assert {len(result.images) for result in results} == {images}
    told = f"stopped at {images} of 40 images, {4 - images // 10} of 4 blocks saved: every interval is ± 40 points"
    assert told in text
    assert "95 % intervals: betting sequence, valid at any time (deterministic), betting sequence" in text
    early = [record for record in records if record.block == 0][: len(records) // 4]
    text = " ".join(
        shown(replace(board, stop=Stop(0.01)), merge(replace(board, stop=Stop(0.01)), early), width).split()
    )
    assert "10 of 40 images so far; it stops as soon as every interval is ± 1 points or shorter" in text


@pytest.mark.parametrize("width", [80, 100])
def test_a_note_says_that_numbers_of_a_cascade_are_conditional(cascade, width):
    text = " ".join(shown(cascade.board, cascade.results, width).split())
    assert "95 % confidence · cascade · attacks in bf16" in text
    assert "strongest †" in text
    assert "† cascade: images that are wrong on every draw skip the later attacks" in text
    assert "conditional" in text


def test_a_note_says_why_a_cascade_has_no_clean_accuracy(build):
    answers = {"plain": build.cascaded({"apgd": list("01"), "clean": list("11")})}
    text = " ".join(shown(*build.results(answers, cascade=True)[::2], 100).split())
    assert 'clean: conditional, because "clean" is not the first attack of the cascade' in text


def test_differing_verdicts_of_attacks_are_in_notes(nearby):
    text = " ".join(shown(nearby.board, nearby.results, 100).split())
    assert text.count("own verdict differs from the verification") == 3
    assert "cascade" not in text
    assert "†" not in text


def test_a_board_without_marks_has_no_notes_about_them(build):
    answers = {"plain": {"clean": ["1"] * 4, "apgd": ["1"] * 4}}
    text = shown(*build.results(answers)[::2], 100)
    assert "rank:" not in text
    assert "!" not in text
    assert "100.0 % [39.8, 100.0]" in text


def test_a_board_without_results_lists_the_missing_defenses(build):
    text = shown(build.board(), [], 100)
    assert "no finished block yet: plain, noisy" in text
    assert "robust accuracy" not in text


@pytest.mark.parametrize(
    ("given", "bar"),
    [
        ((0.5, 0.3, 0.7), "╌╌╌├─●─┤╌╌"),
        ((0.0, 0.0, 0.0), "●╌╌╌╌╌╌╌╌╌"),
        ((1.0, 1.0, 1.0), "╌╌╌╌╌╌╌╌╌●"),
        ((0.0, 0.0, 1.0), "●────────┤"),
        ((0.55, 0.51, 0.59), "╌╌╌╌╌●╌╌╌╌"),
    ],
)
def test_bars_agree_with_bars_drawn_by_hand(given, bar):
    assert draw(estimate(*given), 10).plain == bar


def test_the_clean_accuracy_is_drawn_behind_the_interval():
    assert draw(estimate(0.5, 0.3, 0.7), 10, estimate(0.95, 0.9, 1.0)).plain == "╌╌╌├─●─┤╌○"
    assert draw(estimate(0.5, 0.3, 0.7), 10, estimate(0.5, 0.4, 0.6)).plain == "╌╌╌├─●─┤╌╌"


@pytest.mark.parametrize("width", [10, 20, 21, 30])
def test_the_axis_is_as_wide_as_the_bars(width):
    assert len(axis(width)) == width
    assert axis(width).split() == ["0", "50", "100"]


def test_markup_in_names_is_printed_as_text(build):
    board, _, results = build.results({"plain": {"clean": ["1"] * 4}}, title="[red]a[/red]")
    assert "[red]a[/red]" in shown(board, results, 100)


@pytest.mark.parametrize(("length", "barred"), [(19, True), (26, True), (33, False)])
def test_names_are_not_broken_at_100_columns_while_bars_can_be_narrower(build, length, barred):
    name = f"a-defense:{'x' * (length - 10)}"
    board, _, results = build.results({name: {"clean": ["1"] * 20, "apgd": ["0"] * 5 + ["1"] * 15}})
    text = shown(board, results, 100)
    assert name in text
    assert ("├" in text) is barred
    assert max(map(len, text.splitlines())) <= 100
