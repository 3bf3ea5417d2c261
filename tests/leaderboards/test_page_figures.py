"""Tests that the page shows costs, known randomness and the figures of papers, and says what vote@K is not."""

from dataclasses import replace

import pytest

from purebench.core.answers import LookCount
from purebench.leaderboards import page as board_page
from purebench.leaderboards.figures_text import MV, NOT_OPTIMISED, VOTE, milliseconds_text, printed
from purebench.results.figures.known_randomness import known_randomness

from reading import Page, attack_rows, words  # isort: skip
from synthetic import merge  # isort: skip

ANSWERS = {"clean": ["1" * 12] * 4, "apgd": ["1" * 12, "1" * 8 + "0" * 4, "0" * 12, "1" * 6 + "0" * 6]}


@pytest.fixture
def shown(build):
    """A page of a row whose attack has counts of looks and known randomness, and its result."""
    board, records, _ = build.results({"noisy": ANSWERS}, draws=12)
    board = replace(board, attacks=tuple(replace(one, counters=one.name == "apgd") for one in board.attacks))
    looks = [LookCount(5, 50, 3, 0.2, plurality_wrong=False)] * 2
    clean = [LookCount(5, 50, 1, 0.1, plurality_wrong=False)] * 2
    more = {"looks": looks, "clean_looks": clean, "known_right": [8, 7], "known_seeds": 8}
    records = [replace(one, **more) if one.attack == "apgd" else one for one in records]
    (found,) = merge(board, records)
    return Page(board_page.render(board, [found], (), {}, ())), found


@pytest.mark.parametrize(
    ("time", "told"),
    [(None, "–"), (0.01234, "0.0123 ms"), (12.34, "12.3 ms"), (99.96, "100 ms"), (1234.5, "1,234 ms")],
)
def test_times_of_a_draw_have_no_exponent(time, told):
    assert milliseconds_text(time) == told


def test_the_table_of_attacks_has_the_cost(shown):
    heading, clean, apgd = attack_rows(shown[0], "defense-noisy")
    place = heading.index("Purifier passes per image")
    assert (clean[place], apgd[place]) == ("10", "20")


def test_known_randomness_and_figures_of_papers_are_on_the_page(shown):
    page, found = shown
    text = words(" ".join(text for _, text in page.all("article")))
    figures = known_randomness(found, found.attacks[1])
    assert f"Known-randomness accuracy, upper bound{100 * figures.accuracy.value:.1f}" in text.replace("\u00a0", " ")
    assert "A negative gap means that this attack was not optimised to the end, or is due to chance." in text
    assert figures.not_optimised
    assert NOT_OPTIMISED in text
    assert "Not ranked, and no part of the robust accuracy" in text
    (papers,) = printed(found)
    for one in papers.figures:
        (row,) = (text for _, text in page.all("tr") if one.name in text)
        assert f"{100 * one.attacked.value:.1f}" in row
        assert f"{100 * one.clean.value:.1f}" in row
    assert text.count(VOTE) == 2  # beside the curves, and beside the figures
    assert text.count(MV) == 1
