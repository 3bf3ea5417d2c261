"""Signs of masked gradients: what attacks noted, and a black-box attack that beats them all; computed by hand."""

import io
from dataclasses import replace

import pytest
import torch
from reading import Page, table_rows, words
from rich.console import Console
from torch import nn

from purebench.attacks.apgd import APGD
from purebench.attacks.view import exact
from purebench.defense import as_defense
from purebench.errors import PurebenchError
from purebench.leaderboards.comparisons import Side, comparisons
from purebench.leaderboards.doubts import BEATEN, DISTRUST, doubts

from synthetic import merge  # isort: skip
from purebench.leaderboards.rank import rank
from purebench.leaderboards.site import render
from purebench.leaderboards.terminal import print_board
from purebench.records import Outcome
from purebench.threat import ThreatModel

E, S = Outcome.ERRORED, Outcome.SKIPPED
NOTE = f"the gradient was zero on every image of a look: it may be masked; {DISTRUST}"


def answers(right, images=20):
    """One draw an image, of which the first `right` are right."""
    return ["1"] * right + ["0"] * (images - right)


def results(build, noted=(), more=None, random=False, **right):
    """The result of a defense by the images that hold under each attack; `noted` attacks say that they were masked."""
    board, records, _ = build.results({"one": {name: answers(n) for name, n in right.items()}}, **(more or {}))
    told = [replace(record, notes=[NOTE] if record.attack in noted else []) for record in records]
    return board, merge(board, told)


def told(build, noted=(), more=None, **right):
    (found,) = results(build, noted, more, **right)[1]
    return doubts(found)


def test_a_note_of_a_masked_gradient_is_a_doubt(build):
    assert told(build, clean=20, apgd=18) == ()
    assert told(build, ["apgd"], clean=20, apgd=18) == (f"apgd: {NOTE}",)
    assert told(build, ["apgd", "pgd"], clean=20, apgd=18, pgd=19) == (f"apgd, pgd: {NOTE}",)


def test_it_is_none_where_another_attack_found_a_better_gradient_or_nothing_holds(build):
    assert told(build, ["apgd"], clean=20, apgd=18, bpda=4) == ()
    assert told(build, ["apgd"], clean=20, apgd=18, bpda=18) == (f"apgd: {NOTE}",)
    assert told(build, ["apgd"], clean=20, apgd=0, bpda=0) == ()


@pytest.mark.parametrize(
    ("square", "apgd", "beaten"),
    [
        (10, 18, True),  # 8 to 0: p = 2/2^8
        (14, 20, True),  # 6 to 0: p = 2/2^6 = 0.031
        (15, 20, False),  # 5 to 0: p = 2/2^5 = 0.0625
        (18, 10, False),
        (12, 12, False),
    ],
)
def test_a_black_box_attack_that_beats_the_gradient_is_one_by_mcnemars_test(build, square, apgd, beaten):
    assert told(build, clean=20, apgd=apgd, square=square) == ((BEATEN.format("square"),) if beaten else ())


def test_it_must_beat_every_attack_that_follows_a_gradient(build):
    assert told(build, clean=20, apgd=20, pgd=12, square=10) == ()
    assert told(build, clean=20, apgd=20, pgd=19, square=10) == (BEATEN.format("square"),)
    assert told(build, clean=20, square=10) == ()


def test_discordant_images_count_on_both_sides(build):
    """8 images broken by Square alone, 7 by APGD alone."""
    more = {"one": {"clean": answers(20), "apgd": answers(13), "square": answers(12)[::-1]}}
    assert doubts(build.results(more)[2][0]) == ()


def test_images_that_errored_say_nothing(build):
    lost = {"one": {"clean": answers(20), "apgd": [E] * 20, "square": answers(10)}}
    assert doubts(build.results(lost)[2][0]) == ()
    some = {"one": {"clean": ["1"] * 40, "apgd": ["1"] * 20 + [E] * 20, "square": answers(10) + answers(10)}}
    assert doubts(build.results(some)[2][0]) == (BEATEN.format("square"),)


def test_a_cascade_is_not_compared_but_its_notes_are(build):
    cascaded = {"one": build.cascaded({"clean": answers(20), "apgd": answers(20), "square": answers(10)})}
    board, records, (found,) = build.results(cascaded, cascade=True)
    assert doubts(found) == ()
    (noted,) = merge(board, [replace(record, notes=[NOTE] if record.attack == "apgd" else []) for record in records])
    assert doubts(noted) == (f"apgd: {NOTE}",)


def test_the_table_and_the_page_show_it_and_else_are_as_they_were(build):
    board, found = results(build, ["apgd"], clean=20, apgd=18)
    file = io.StringIO()
    print_board(board, found, Console(file=file, width=100))
    text = words(file.getvalue())
    assert "one ⚠" in text
    assert f"⚠ one: apgd: {NOTE}" in text
    page = Page(render(board, found, tuple("abcdefghij"), {}))
    (row,) = table_rows(page)[1]
    assert "⚠ gradients masked?" in row[1][1]
    assert [words(text) for _, text in page.all("p", "trouble")] == [f"⚠ apgd: {NOTE}"]
    assert [words(text) for _, text in page.all("ul", "doubts")] == [f"⚠ one apgd: {NOTE}"]
    board, plain = results(build, clean=20, apgd=18)
    assert "⚠" not in render(board, plain, tuple("abcdefghij"), {})


class Steps(nn.Module):
    """A network behind an image of few grey values: right or wrong, but flat."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 64).repeat(3, 1) * torch.tensor([[1.0], [-1.0], [0.5]]))

    def forward(self, x):
        return (4 * x).round().flatten(1) @ self.weight.T


def test_the_notes_of_native_attacks_are_known_by_their_words(build):
    torch.manual_seed(0)
    defense, x = as_defense(Steps()), torch.rand(4, 1, 8, 8)
    view = exact(defense)
    APGD(steps=2)(view, x, defense(x).argmax(1), ThreatModel("linf", 1e-3))
    assert any(DISTRUST in note for note in view.notes)


def test_equal_rows_share_a_rank(build):
    found = rank(
        build.results(
            {
                "b": {"clean": answers(20), "apgd": answers(10)},
                "a": {"clean": answers(20), "apgd": answers(10)},
                "c": {"clean": answers(19), "apgd": answers(10)},
                "d": {"clean": answers(20), "apgd": answers(12)},
            }
        )[2]
    )
    assert [(row.name, row.rank) for row in found] == [("d", 1), ("a", 2), ("b", 2), ("c", 4)]


@pytest.mark.parametrize("square", [[E] * 4, [S] * 4])
def test_a_row_that_no_attack_answered_for_is_not_ranked(build, square):
    (row,) = rank(build.results({"one": {"clean": list("1110"), "apgd": [E] * 4, "square": square}})[2])
    assert (row.rank, row.clean.value, row.result.failed) == (None, 0.75, True)


def test_a_row_that_an_attack_answered_for_is_and_one_that_none_applies_to_is_not(build):
    (row,) = rank(build.results({"one": {"clean": list("1111"), "apgd": [E, E, E, "1"], "square": [S] * 4}})[2])
    assert (row.rank, row.robust) == (None, None)
    assert [bound.value for bound in row.bounds] == [0.25, 1.0]
    (row,) = rank(build.results({"one": {"clean": list("1110"), "apgd": [S] * 4}})[2])
    assert (row.rank, row.robust, row.clean.value) == (None, None, 0.75)
    with pytest.raises(PurebenchError, match="expected an attack that answered for it"):
        comparisons([(Side("one", row.result), Side("one", row.result))])
