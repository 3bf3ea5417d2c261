"""Tests a page's text on cascades, minimum-norm attacks, verdicts of attacks, and transfer attacks."""

import re
from dataclasses import replace

import pytest

from purebench.boards.board import Stop
from purebench.leaderboards.page import render
from purebench.results.attack_claims import attack_claim
from purebench.results.distances import distance_text, nearest_distances, reach
from purebench.results.ranking.rank import rank
from purebench.statistics import median_with_ends

from reading import Page, attack_rows, table_rows, words  # isort: skip


@pytest.fixture(scope="module")
def near_page(nearby):
    return Page(render(nearby.board, nearby.results, nearby.classes, nearby.originals))


@pytest.fixture(scope="module")
def cascade_page(cascade):
    return Page(render(cascade.board, cascade.results, cascade.classes, cascade.originals))


def test_a_note_says_that_numbers_of_a_cascade_are_conditional(cascade, cascade_page):
    text = words(cascade_page.all("section")[0][1])
    assert "† cascade: an image that was wrong on every draw" in text
    assert "conditional, over the n images that were left" in text
    header, rows = table_rows(cascade_page)
    assert [name for _, name in header][6:11] == ["fmn†", "apgd-exact†", "autoattack†", "transfer†", "deepfool†"]
    for cells, row in zip(rows, rank(cascade.results), strict=True):
        for (at, shown), cell in zip(cells[6:11], row.cells[1:], strict=True):
            if cell.exhausted:
                assert (at["data-value"], shown) == ("", "all broken earlier")
            elif cell.estimate is None:
                assert shown == "n/a"
            else:
                assert shown.endswith(f"] n = {cell.estimate.n}")
                assert cell.estimate.n == 48 - cell.spared
                assert f"{cell.estimate.n} images; {cell.spared} more were broken earlier" in at["title"]
    assert "all broken earlier" in text
    facts = words(cascade_page.all("dl", "facts")[0][1])
    assert "Attacks5 in a cascade Attack precisionbf16 verified in float32" in facts
    remarks = " ".join(words(text) for _, text in cascade_page.all("ul", "remarks"))
    assert "cascade" not in remarks  # stated once, not for every attack
    assert "errored" not in remarks


def test_a_page_without_a_cascade_does_not_mention_cascades(near_page):
    found = words(near_page.all("main")[0][1])
    assert not re.search("cascade|†|n = |broken earlier", found)


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"cascade": True, "attack_precision": "bf16"}, "--cascade --attack-precision bf16"),
        ({"cascade": True}, "--cascade"),
        ({}, ""),
    ],
)
def test_the_command_repeats_the_options_of_the_board(build, change, command):
    board, _, results = build.results({"plain": {"clean": ["1", "1"]}}, **change)
    (section,) = Page(render(board, results, (), {})).all("article")
    told = words(section[1]).split("Command")[1]
    assert told == f"purebench run small.yaml --defense 'plain(alpha=0.5)' --images 2 {command}".strip()


def test_rows_of_attacks_show_median_distance_and_source(nearby, near_page):
    heading, _, fmn, apgd, _, transfer, _ = attack_rows(near_page, "defense-adversarial-training")
    found = next(result for result in nearby.results if result.name == "adversarial-training")
    reached = reach(found.attacks[1])
    column = heading.index("Median distance")
    assert fmn[column] == f"{255 * reached.median:.1f}/255 found for {reached.found} of 48"
    assert reached.found < 48
    assert apgd[column] == "16.0/255"
    assert transfer[0].endswith("images of vae · apgd-exact")
    (head,) = (at for at, text in near_page.all("th") if words(text) == "transfer")
    assert head["title"].endswith("images of vae · apgd-exact")


def test_verdicts_of_attacks_are_shown_beside_verified_accuracies(nearby, near_page):
    differing = 0
    for result in nearby.results:
        own = attack_claim(result.attacks[3])
        heading, *rows = attack_rows(near_page, f"defense-{result.name}")
        if result.random:  # AutoAttack's standard version is not for random defenses
            assert own is None
            assert "Own verdict, %" not in heading
            continue
        column = heading.index("Own verdict, %")
        assert rows[3][column] == f"{100 * own.accuracy:.1f}{'≠' if own.remark else ''}"
        assert [row[column] for row in rows[:3]] == ["–"] * 3
        (section,) = (words(text) for at, text in near_page.all("article") if at["id"] == f"defense-{result.name}")
        assert (f"autoattack {own.remark}" in section) == bool(own.remark)
        differing += bool(own.remark)
    assert differing


def test_the_intervals_of_curves_are_named_as_those_that_they_have(nearby):
    stopping = replace(nearby.board, stop=Stop(0.4))
    stopped = [replace(one, board={**one.board, "stop": {"half_width": 0.4}}) for one in nearby.results]
    for board, results, told in (
        (nearby.board, nearby.results, "pointwise Clopper–Pearson intervals"),
        (stopping, stopped, "pointwise intervals that are valid at any stopping time"),
    ):
        assert told in render(board, results, nearby.classes, nearby.originals)


def test_curves_have_titles_summaries_and_labels(nearby, near_page, demo):
    images = [(at, text) for at, text in near_page.all("svg") if at.get("role") == "img"]
    charts = [(at, text) for at, text in images if not at["aria-labelledby"].split()[0].endswith("-draws-title")]
    drawn = [
        row for row in rank(nearby.results) if not row.random
    ]  # on random rows the attack would be chosen by chance
    assert len(charts) == 1 + len(drawn) < 1 + len(nearby.results)
    every = [at["id"] for _, at, _ in near_page.elements if "id" in at]
    assert len(every) == len(set(every))
    ids = {at["id"]: words(text) for _, at, text in near_page.elements if "id" in at}
    for (at, text), row in zip(charts[1:], drawn, strict=True):
        title, summary = (ids[name] for name in at["aria-labelledby"].split())
        assert title == f"Accuracy of {row.name} against radius"
        assert summary.startswith("At radius 0: ")
        assert "threat 16/255" in text
        assert "radius, ℓ∞ in 1/255" in text
        assert "accuracy, %" in text
        assert f"At the threat's radius 16/255: {row.robust.percent()}." in summary
    page = Page(render(demo.board, demo.results, demo.classes, demo.originals))
    assert "against radius" not in words(page.all("main")[0][1])  # no minimum-norm attack, no curve


def test_captions_state_the_number_of_images_never_broken(nearby, near_page, cascade_page):
    captions = [text for _, text in near_page.all("figcaption") if words(text).startswith("Nearest")]
    captions = [words(text) for text in captions]
    nearest = [nearest_distances(row.result) for row in rank(nearby.results) if not row.random]
    missing = [found.missing for found in nearest]
    assert any(missing)
    medians = [median_with_ends(found.distances) for found in nearest]
    for caption, count, median in zip(captions, missing, medians, strict=True):
        value, low, high = (distance_text("linf", d) for d in (median.value, median.low, median.high))
        assert caption.startswith(f"Nearest adversarial images of fmn, deepfool: median {value} [{low}, {high}], 95 %")
        assert (f"No attack broke {count} of 48 images, which count as robust" in caption) == bool(count)
    assert "were broken earlier in the cascade" in words(cascade_page.all("figcaption")[0][1])


def test_a_single_curve_is_not_overlaid(nearby):
    (chart,) = (
        at for at, _ in Page(render(nearby.board, nearby.results[:1], (), {})).all("svg") if at.get("role") == "img"
    )
    assert chart["aria-labelledby"].startswith("defense-none-curve")
