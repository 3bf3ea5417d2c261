"""Tests the files of a site: pages show the estimates of `rank`, links lead somewhere, hostile texts are inert."""

import json
import re
from dataclasses import replace
from urllib.parse import urljoin

import pytest
from verdict_builder import verdict_about

from purebench.core.errors import PurebenchError
from purebench.leaderboards.page import render
from purebench.leaderboards.site.build import MARK, build_site
from purebench.leaderboards.site.cards import Card, Catalogue, slug
from purebench.leaderboards.site.source import board_source
from purebench.results.files.export import export_results
from purebench.results.files.verdicts import Badge, record_verdict

from reading import Page, words  # isort: skip
from site_sources import HOSTILE, hostile_catalogue, hostile_source, small_source  # isort: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_source(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def site(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "site"
    card = Card(
        paper="Someone 2020, arXiv:2001.00001", year="2020", family="toys", url="https://arxiv.org/abs/2001.00001"
    )
    build_site([source], out, Catalogue({"robust": card}), docs="docs", changes="# Changes\n\n- one\n")
    return out


def payload(path):
    text = path.read_text(encoding="utf-8")
    kind, plain = re.fullmatch(r'purebench\.receive\("(\w+)", (.*)\);\n', text, re.DOTALL).groups()
    return kind, json.loads(plain)


def test_the_data_of_a_board_are_the_estimates_of_its_rows(source, site):
    kind, data = payload(site / "data" / "small.js")
    assert kind == "board"
    assert [row["name"] for row in data["rows"]] == [row.name for row in source.rows]
    for told, row in zip(data["rows"], source.rows, strict=True):
        assert told["robust"][:3] == pytest.approx([row.robust.value, row.robust.low, row.robust.high], abs=1e-6)
        assert told["robust"][3] == row.robust.n == 40
        assert told["clean"][0] == pytest.approx(row.clean.value, abs=1e-6)
        assert (told["rank"], told["ranks"]) == (row.rank, [row.ranks.low, row.ranks.high])
        assert told["letters"] == row.ranks.letters
        assert told["grade"] == row.grade.letter
        assert told["verified"] == "unverified"
        (attack,) = [cell for cell in row.cells if cell.attack == "apgd"]
        assert told["attacks"][0][:2] == pytest.approx([attack.estimate.value, attack.estimate.low], abs=1e-6)
        assert told["command"].startswith("purebench run small.yaml")
    assert [(row["year"], row["family"]) for row in data["rows"] if row["name"] == "robust"] == [("2020", "toys")]


def test_the_details_of_a_row_are_its_outcomes_and_its_comparisons(source, site):
    for row in source.rows:
        kind, data = payload(site / "data" / "small" / f"{slug(row.name)}.js")
        assert kind == "row"
        scores = [count / data["fresh_draws"] for count in data["fresh"]]
        assert scores == pytest.approx(row.result.scores().tolist())
        for attack in row.result.attacks:
            told = data["attacks"][attack.name]
            assert told["outcomes"] == "".join(one.value[0] for one in attack.outcomes)
            assert told["right"] == row.result.right(attack).sum(axis=1).tolist()
        names = [one.name for one in source.rows]
        assert len(data["p_values"]) == len(names)
        for other, p in zip(names, data["p_values"], strict=True):
            pair = source.standing.p_values.get((row.name, other), source.standing.p_values.get((other, row.name)))
            assert p == (None if other == row.name else pytest.approx(pair, rel=1e-3))


def test_links_of_a_card_lead_to_the_web_only():
    for address in (
        "javascript://x/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//x.org",
        'https://x.org/"a',
    ):
        assert Card(url=address, code=address).links == []
    web = Card(url="https://arxiv.org/abs/1", code="http://x.org/~a?b=c")
    assert web.links == [("paper", "https://arxiv.org/abs/1"), ("code", "http://x.org/~a?b=c")]


def test_the_index_shows_the_leaders_with_interval_and_grade(source, site):
    page = Page((site / "index.html").read_text(encoding="utf-8"))
    (table,) = [words(text) for _, text in page.all("tbody")]
    for row in source.rows[:3]:
        told = f"{100 * row.robust.value:.1f} % [{100 * row.robust.low:.1f}, {100 * row.robust.high:.1f}]"
        place = f"{row.ranks.text} {row.ranks.letters}"
        assert f"{place}{row.name}grade {row.grade.letter}{told}" in table.replace("\xa0", " ")
    assert source.rows[3].name not in table


def test_every_link_leads_to_a_file_of_the_site(site):
    pages = sorted(site.rglob("*.html"))
    assert {path.relative_to(site).parts[0] for path in pages} >= {
        "index.html",
        "boards",
        "defenses",
        "methodology.html",
    }
    for path in pages:
        for tag, at, _ in Page(path.read_text(encoding="utf-8")).elements:
            link = at.get("href") or at.get("src")
            if not link or link.startswith(("#", "data:", "https://arxiv.org")) or "docs/" in link:
                continue
            name = urljoin(f"/{path.relative_to(site)}", link.split("#")[0]).lstrip("/")
            assert (site / name).is_file(), (path, tag, link)


def test_pages_load_nothing_from_elsewhere_and_say_so_to_the_browser(site):
    for path in site.rglob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        (policy,) = [at["content"] for at, _ in page.all("meta") if at.get("http-equiv")]
        assert policy.startswith("default-src 'none'")
        assert "connect-src" not in policy
        assert "script-src 'self';" in policy
        for tag in ("script", "link", "img", "iframe"):
            for at, _ in page.all(tag):
                assert not re.match(r"(https?:)?//", at.get("src") or at.get("href") or "")


def test_downloads_are_those_of_export(source, site):
    from purebench.leaderboards.table_files import comma_separated, latex

    assert (site / "data" / "small.csv").read_text(encoding="utf-8") == comma_separated(source.rows)
    caption = "The board small: robust accuracy and its interval."
    assert (site / "data" / "small.tex").read_text(encoding="utf-8") == latex(source.rows, caption)
    rows = json.loads((site / "data" / "small.json").read_text(encoding="utf-8"))["rows"]
    assert [row["name"] for row in rows] == [row.name for row in source.rows]


def test_the_page_of_a_defense_gathers_its_rows_of_all_boards(tmp_path):
    sources = [small_source(tmp_path, "one"), small_source(tmp_path, "two")]
    build_site(sources, tmp_path / "site", Catalogue())
    page = Page((tmp_path / "site" / "defenses" / "robust.html").read_text(encoding="utf-8"))
    text = words(page.all("main")[0][1])
    assert "The board one" in text
    assert "The board two" in text
    assert "0123456789" in text  # the commit
    assert "1,234,567" in text  # parameters
    assert "unverified" in text


def test_a_file_of_the_user_never_gets_the_card_of_a_registered_defense(source):
    catalogue = Catalogue({"trades": Card(paper="Zhang et al. 2019", licence="MIT")})

    def row(name, spec):
        first = source.rows[0]
        return replace(first, result=replace(first.result, name=name, spec={"name": spec, "params": {}}))

    for spec in ("trades/mine.py:mine", "trades.py:mine", "trades/a/b.py:trades"):
        for name in ("mine", "trades"):
            assert catalogue.card("small", row(name, spec)) == Card()
            assert catalogue.key(row(name, spec)) != "trades"
    for spec in ("trades", "trades/large", "trades:large"):
        assert catalogue.card("small", row("mine", spec)).licence == "MIT"
        assert catalogue.key(row("mine", spec)) == "trades"


def test_hostile_texts_are_inert(tmp_path):
    build_site([hostile_source(tmp_path)], tmp_path / "site", hostile_catalogue(), title=HOSTILE, changes=HOSTILE)
    paths = sorted((tmp_path / "site").rglob("*.html"))
    assert len(paths) >= 5
    for path in paths:
        page = Page(path.read_text(encoding="utf-8"))
        assert all("src" in at for at, _ in page.all("script")), path
        assert page.all("img") == []
        assert not any(name.startswith("on") for _, at, _ in page.elements for name in at)
        assert not any(at.get("href", "").startswith("javascript") for at, _ in page.all("a"))
    for path in (tmp_path / "site" / "data").rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        payload(path)  # one call with plain JSON
        assert text.isascii()
    (board,) = (tmp_path / "site" / "boards").glob("*.html")
    assert HOSTILE in [text for _, text in Page(board.read_text(encoding="utf-8")).all("h1")]


def test_names_become_different_plain_file_names():
    names = ["a b", "a/b", "a-b", "..", "", "A", "a", HOSTILE, "x" * 300, "x" * 301]
    made = [slug(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,80}", one) for one in made)
    assert len({one.lower() for one in made}) == len(names)


def test_a_folder_that_is_no_site_is_left_alone(source, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(PurebenchError, match="contains other files"):
        build_site([source], tmp_path, Catalogue())
    assert (tmp_path / "thesis.tex").read_text(encoding="utf-8") == "years of work"
    with pytest.raises(PurebenchError, match="is a file"):
        build_site([source], tmp_path / "thesis.tex", Catalogue())


def test_a_site_is_replaced_without_leftovers_and_has_equal_bytes(source, tmp_path):
    first = build_site([source], tmp_path / "site", Catalogue())
    before = {path: path.read_bytes() for path in first}
    (tmp_path / "site" / "boards" / "old.html").write_text("old", encoding="utf-8")
    build_site([source], tmp_path / "site", Catalogue())
    assert {path: path.read_bytes() for path in first} == before
    assert not (tmp_path / "site" / "boards" / "old.html").exists()
    assert (tmp_path / "site" / MARK).is_file()


def test_two_boards_of_one_name_and_no_board_are_refused(source, tmp_path):
    with pytest.raises(PurebenchError, match="two are named 'small'"):
        build_site([source, replace(source)], tmp_path / "site", Catalogue())
    with pytest.raises(PurebenchError, match="at least one board"):
        build_site([], tmp_path / "site", Catalogue())


@pytest.mark.parametrize("name", ["board", "defense", "page"])
def test_a_verdict_about_the_shown_result_is_shown_and_others_are_not(tmp_path, name):
    folder = tmp_path / "results"
    source = small_source(folder)
    results = [row.result for row in source.rows]
    export_results(folder, results)
    by_name = {result.name: result for result in results}
    for row, badge in (("robust", Badge.VERIFIED), ("weak", Badge.REFUTED)):
        record_verdict(folder, row, verdict_about(by_name[row], badge))
    own = next(result for result in results if result.name == "random-b")
    changed = replace(own, parameters=1)  # a verdict about another result of the row does not count
    export_results(folder, [changed])
    record_verdict(folder, changed.name, verdict_about(changed))
    export_results(folder, results)
    found = board_source(source.board, folder, results)
    build_site([found], tmp_path / "site", Catalogue())
    expected = {"robust": "verified", "weak": "refuted", "random-a": "unverified"}
    expected["random-b"] = "unverified (2 versions submitted)"
    if name == "board":
        data = payload(tmp_path / "site" / "data" / "small.js")[1]
        assert {row["name"]: row["badge"] for row in data["rows"]} == expected
    elif name == "defense":
        for row, badge in expected.items():
            page = Page((tmp_path / "site" / "defenses" / f"{slug(row)}.html").read_text(encoding="utf-8"))
            assert badge in [words(text) for _, text in page.all("td")]
    else:
        page = Page(render(source.board, results, (), {}, badges=found.badges))
        sections = {at["id"].removeprefix("defense-"): words(text) for at, text in page.all("article")}
        assert all(f" {badge} " in sections[row] for row, badge in expected.items())
        assert "robust verified" in words(page.all("main")[0][1])
