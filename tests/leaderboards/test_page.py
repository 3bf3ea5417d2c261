"""Tests the HTML of a page: it is well-formed, self-contained and escaped, and shows the estimates."""

import base64
import re
from dataclasses import replace

import pytest

from purebench.core.errors import PurebenchError

from synthetic import merge  # isort: skip
from purebench.leaderboards.page import render, write_page
from purebench.records.outcome import Outcome
from purebench.records.record import Picture
from purebench.results.ranking.rank import rank

from reading import Page, table_rows, words  # isort: skip

HOSTILE = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module")
def html(demo):
    return render(demo.board, demo.results, demo.classes, demo.originals)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def test_every_row_shows_its_estimates(demo, page):
    header, rows = table_rows(page)
    names = [text for _, text in header]
    ranked = rank(demo.results)
    assert len(rows) == len(ranked)
    for cells, row in zip(rows, ranked, strict=True):
        assert len(cells) == len(names)
        by_name = dict(zip(names, cells, strict=True))
        assert by_name["Defense"][0]["data-value"] == row.name
        if row.rank is None:
            assert "errored" in by_name["Robust accuracy"][1]
            continue
        place = [row.ranks.text] if row.ranks.low < row.ranks.high else []
        assert by_name["#"][1].split() == [str(row.rank), row.ranks.letters, *place]
        assert float(by_name["Best"][0]["data-value"]) == row.ranks.best
        assert by_name["Robust accuracy"][1].startswith(row.robust.percent())
        assert float(by_name["Robust accuracy"][0]["data-value"]) == row.robust.value
        assert by_name["Clean"][0]["title"] == row.clean.percent()
        for cell in row.cells[1:]:
            at, text = by_name[cell.attack]
            if cell.estimate is None:
                assert (at["data-value"], text) == ("", "n/a")
            else:
                number, interval = cell.estimate.percent().split(" % ")
                assert text == f"{number}{'!' if cell.errored else ''} {interval}"
                assert at["title"].startswith(cell.estimate.percent())
                assert float(at["data-value"]) == cell.estimate.value


def test_intervals_are_drawn_from_their_low_to_their_high_end(demo, page):
    plots = page.all("i", "whisker")
    ranked = [row for row in rank(demo.results) if row.rank]
    for (at, _), row in zip(plots, ranked, strict=False):
        left, right = (float(value) for value in re.findall(r"([\d.]+)%", at["style"]))
        assert left == pytest.approx(100 * row.robust.low, abs=0.06)
        assert 100 - right == pytest.approx(100 * row.robust.high, abs=0.06)


def test_links_point_to_ids_and_ids_are_unique(page):
    ids = [at["id"] for _, at, _ in page.elements if "id" in at]
    assert len(ids) == len(set(ids))
    links = [at["href"] for at, _ in page.all("a")]
    assert len(links) == 16
    assert {link.removeprefix("#") for link in links} <= set(ids)


@pytest.mark.parametrize("name", ["demo", "cascade"])
def test_a_page_loads_nothing_from_elsewhere(request, name):
    shown = request.getfixturevalue(name)
    html = render(shown.board, shown.results, shown.classes, shown.originals)
    page = Page(html)
    for tag, at, _ in page.elements:
        assert tag not in ("iframe", "object", "embed")
        for name in ("src", "href", "srcset", "action", "poster"):
            assert (at.get(name) or "#").startswith(("#", "data:")), (tag, at)
    without_pictures = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", without_pictures)
    (policy,) = (at["content"] for at, _ in page.all("meta") if at.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_markup_in_names_and_notes_is_escaped(build):
    board = build.board(defenses=(HOSTILE, "plain"), title=HOSTILE, about=HOSTILE, images=2)
    note = {"notes": [HOSTILE], "reason": HOSTILE}
    records = [
        build.record(board, defense.name, attack.name, 0, ["1", "0"], **note)
        for defense in board.defenses
        for attack in board.attacks
    ]
    picture = Picture(100, 0, HOSTILE, HOSTILE, 1)
    records[1] = replace(records[1], pictures=[picture], provenance=records[1].provenance | {"device": HOSTILE})
    found = Page(render(board, merge(board, records), (HOSTILE, HOSTILE), {100: HOSTILE}))
    assert len(found.all("script")) == 1
    assert found.all("h1")[0][1] == HOSTILE
    assert HOSTILE in [text for _, text in found.all("h2")]
    assert all(re.fullmatch(r"#[A-Za-z0-9._+-]+", at["href"]) for at, _ in found.all("a"))


def test_similar_names_of_defenses_have_different_ids(build):
    board, _, found = build.results({name: {"clean": ["1"] * 2} for name in ("a b", "a/b", "a-b")})
    anchors = [at["id"] for at, _ in Page(render(board, found, (), {})).all("article")]
    assert len(set(anchors)) == 3


def test_the_section_of_a_defense_shows_errors_notes_command_and_provenance(demo, page):
    sections = {at["id"]: words(text) for at, text in page.all("article")}
    assert set(sections) == {f"defense-{found.name}" for found in demo.results}
    text = sections["defense-diffpure-t0.15"]
    assert "RuntimeError" not in text
    assert "errored foolbox-deepfool on 64 of 256 images: OutOfMemoryError: no room for 20 draws" in text
    assert "square rounding corrected" in text
    assert "64 errored" in text
    assert "16.0/255" in text
    assert "purebench run fashion-linf --defense 'diffpure-t0.15(alpha=0.5)'" in text
    assert "1,234,567" in text
    assert "ab" * 32 in text
    assert "Not ranked: RuntimeError: size mismatch" in sections["defense-broken-checkpoint"]
    (footer,) = (words(text) for _, text in page.all("footer"))
    assert all(part in footer for part in ("cd" * 32, "torch 2.6.0", "0123456789abcdef", "cpu"))
    assert "No finished block yet: styletransformer" in words(page.all("section")[0][1])


def test_pictures_are_of_the_strongest_attack_and_name_the_classes(demo, page):
    best = rank(demo.results)[0]
    shown = next(attack for attack in best.result.attacks if attack.name == best.strongest).pictures
    sources = [at["src"].removeprefix("data:image/png;base64,") for at, _ in page.all("img")][:12]
    expected = [png for p in shown for png in (demo.originals[p.image], p.adversarial, p.purified)]
    assert sources == expected
    assert all(base64.b64decode(source)[1:4] == b"PNG" for source in sources)
    caption = words(page.all("figcaption")[0][1])
    assert caption.startswith(f"{demo.classes[shown[0].label]} → {demo.classes[shown[0].predicted]}")


def test_a_picture_without_its_original_or_class_name_is_shown(build):
    board = build.board(images=2, defenses=("plain",), attacks=("clean",))
    record = build.record(board, "plain", "clean", 0, ["1", "1"], pictures=[Picture(100, 0, "AAAA", "BBBB", 7)])
    found = Page(render(board, merge(board, [record]), (), {}))
    assert [at["alt"] for at, _ in found.all("img")] == ["adversarial", "purified"]
    assert words(found.all("figcaption")[0][1]) == "class 0 → class 7 wrong"


def test_the_footer_names_defenses_computed_on_another_machine(build):
    board, records, _ = build.results({"one": {"clean": ["1", "1"]}, "two": {"clean": ["1", "0"]}})
    records[1] = replace(records[1], provenance=records[1].provenance | {"device": "NVIDIA H200"})
    footer = Page(render(board, merge(board, records), (), {})).all("footer")[0][1]
    assert "two commit 0123456789abcdef0123456789abcdef01234567, NVIDIA H200" in words(footer)


def test_rows_of_other_code_on_the_same_machine_are_not_named_in_the_footer(build):
    board, records, _ = build.results({"one": {"clean": ["1", "1"]}, "two": {"clean": ["1", "0"]}})
    code = {"attack": {"source": "a"}, "defense": {"source": "b"}}
    records[1] = replace(records[1], provenance=records[1].provenance | {"code": code})
    found = merge(board, records)
    assert found[0].provenance != found[1].provenance
    assert "computed elsewhere" not in words(Page(render(board, found, (), {})).all("footer")[0][1])


def test_the_page_shows_the_global_optimality_of_each_attack(build):
    answers = {
        "one": {"clean": ["1"] * 4, "apgd": ["1", "0", "0", "0"], "square": ["0", "1", "1", "1"]},
        "two": {"clean": ["1"] * 4, "apgd": ["1", "1", "0", "0"], "square": ["1", "1", "1", "1"]},
    }
    board, _, found = build.results(answers, draws=1, block=4)
    # one: 3/4 and 1/4 of what both together take away; two: all and nothing
    text = words(Page(render(board, found, (), {})).all("section")[0][1])
    assert "optimality of attacks, mean over rows (AttackBench): apgd 0.88, square 0.12" in text


@pytest.mark.parametrize(
    "answers",
    [
        {"one": {"apgd": ["1", "0"]}},
        {"one": {"clean": ["1", "0"]}},
        {"one": {"clean": [Outcome.SKIPPED] * 2, "apgd": [Outcome.SKIPPED] * 2}},
        {"one": {"clean": ["1", "1"], "apgd": [Outcome.ERRORED] * 2}},
    ],
)
def test_boards_without_clean_or_robust_accuracy_have_a_page(build, answers):
    board, _, found = build.results(answers)
    Page(render(board, found, (), {}))


def test_a_board_without_results_has_a_page(build):
    found = Page(render(build.board(), [], (), {}))
    assert "No finished block yet: plain, noisy" in words(found.all("main")[0][1])


def test_a_page_is_never_written_partially(html, tmp_path):
    write_page(tmp_path / "new" / "board.html", html)
    assert (tmp_path / "new" / "board.html").read_text(encoding="utf-8") == html
    with pytest.raises(PurebenchError, match="cannot be written"):
        write_page(tmp_path / "new" / "board.html" / "below.html", html)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["board.html"]


def test_the_same_results_make_the_same_page(demo, html):
    assert render(demo.board, demo.results[::-1], demo.classes, demo.originals) == html
