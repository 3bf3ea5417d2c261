"""Tests certified accuracies, their column and their curve against values computed by hand."""

from __future__ import annotations

import pytest
from rich.console import Console

from purebench.results.certificates import certificates

from synthetic import merge  # isort: skip
from purebench.leaderboards.page import render
from purebench.leaderboards.terminal import board_table
from purebench.records.outcome import Outcome
from purebench.statistics import clopper_pearson

RADIUS = 16 / 255


@pytest.fixture
def proven(build):
    """A board of two defenses, of which one has a certificate, and its results."""
    board = build.board(("clean", "apgd", "certify"), ("smoothed", "plain"), 4, 4)
    radii = [2 * RADIUS, RADIUS, None, 1.5 * RADIUS]  # a certified radius must exceed the radius of the threat
    skipped = [Outcome.SKIPPED] * 4
    records = [
        build.record(board, "smoothed", "clean", 0, ["1111"] * 4),
        build.record(board, "smoothed", "apgd", 0, ["1111", "1111", "0000", "1111"]),
        build.record(board, "smoothed", "certify", 0, ["1111", "1111", "0000", "1111"], certified=radii),
        build.record(board, "plain", "clean", 0, list("1111"), random=False),
        build.record(board, "plain", "apgd", 0, list("0000"), random=False),
        build.record(board, "plain", "certify", 0, skipped, random=False, reason="the defense has no certificate"),
    ]
    return board, merge(board, records)


def printed(board, results, width=100):
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(board_table(board, results, width))
    return capture.get()


def test_certified_accuracy_is_the_share_of_certified_radii_beyond_the_threat(proven):
    smoothed, plain = proven[1]
    found = certificates(smoothed)
    assert found.distances == (2 * RADIUS, RADIUS, 0.0, 1.5 * RADIUS)
    assert found.estimate == clopper_pearson(2, 4, 0.95)
    assert certificates(plain) is None


def test_an_errored_or_skipped_image_is_not_certified(build):
    board = build.board(("certify",), ("one",), 3, 3)
    answers = ["1111", Outcome.ERRORED, Outcome.SKIPPED]
    record = build.record(board, "one", "certify", 0, answers, certified=[1.0, 1.0, None])
    (found,) = merge(board, [record])
    assert certificates(found).distances == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_table_has_a_certified_column(proven, width):
    told = printed(*proven, width)
    assert "certified" in told
    assert "50.0 %" in told
    assert max(map(len, told.splitlines())) <= width


def test_the_page_shows_certificates_as_column_and_curve_and_not_as_an_attack(proven):
    board, results = proven
    page = render(board, results, [], {})
    assert page.count(">Certified<") == 2  # the column and its explanation
    assert 'title="certify, ' not in page
    assert "Certified at the threat" in page
    assert "Dashed: certified by certify, 50.0" in page
    assert "square root of the number of pixel values" in page
    assert page.count('-curve" class="curve"') + page.count("-curve-title") >= 1


def test_without_certificates_neither_page_nor_table_mentions_them(build):
    board, _, results = build.results({"plain": {"clean": list("1111"), "apgd": list("0110")}}, draws=1)
    assert "ertified" not in render(board, results, [], {})
    assert "certified" not in printed(board, results)
