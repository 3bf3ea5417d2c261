"""Tests the site in a browser: filters, sorting, addresses, views, the paired test, speed, accessibility, requests."""

import json

import pytest

from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Card, Catalogue
from purebench.results.ranking.comparisons import Side, comparisons

from browsing import open_page, requested, resize, violations  # isort: skip
from site_sources import HOSTILE, hostile_catalogue, hostile_source, large_source, small_source  # isort: skip

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser

VIEWS = ["", "#view=scatter", "#view=ranks", "#view=attacks", "#view=images", "#view=compare"]
PARTS = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration")
MOST_MS = 50  # on a machine that draws PLAIN_TABLE in
PLAIN_MS = 10
PLAIN_TABLE = """const table = document.body.appendChild(document.createElement("table"));
for (let row = 0; row < 50; row++) {
  const line = table.insertRow();
  for (let cell = 0; cell < 20; cell++) line.insertCell().textContent = `row ${row} cell ${cell}`;
}
document.body.getBoundingClientRect();
table.remove();"""
MOST_BYTES = 2_000_000
WAIT = """const done = arguments[arguments.length - 1];
const look = () => document.querySelector(arguments[0]) ? done(true) : setTimeout(look, 20); look();"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small_source(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def small(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("small") / "site"
    card = Card(year="2020", family="toys", paper="Someone 2020", licence="MIT", gradient="exact")
    build_site([source], out, Catalogue({"robust": card}), changes="# Changes\n\n- one\n")
    return out


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    out = tmp_path_factory.mktemp("large") / "site"
    build_site([large_source(out.parent)], out, Catalogue())
    return out


def texts(browser, css):
    return [one.text for one in browser.find_elements("css selector", css)]


def names(browser):
    return texts(browser, "#view tbody th a")


def wait(browser, css):
    browser.set_script_timeout(20)
    assert browser.execute_async_script(WAIT, css)


def test_the_table_shows_filters_and_sorts_rows(browser, small, source):
    open_page(browser, small / "boards" / "small.html")
    assert names(browser) == [row.name for row in source.rows]
    browser.find_element("id", "search").send_keys("random")
    assert set(names(browser)) == {"random-a", "random-b"}
    assert browser.find_element("id", "status").text == "2 of 4 rows: 2 unverified"
    assert browser.execute_script("return document.activeElement.id") == "search"
    browser.find_element("css selector", ".clear").click()
    browser.find_element("css selector", '[data-key="name"]').click()
    assert names(browser) == sorted(row.name for row in source.rows)
    browser.find_element("css selector", '[data-key="name"]').click()
    assert names(browser) == sorted((row.name for row in source.rows), reverse=True)
    assert browser.find_element("css selector", "[aria-sort]").get_attribute("aria-sort") == "descending"


def test_facets_combine_and_the_address_restores_them(browser, small, source):
    open_page(browser, small / "boards" / "small.html")
    summary = next(one for one in browser.find_elements("css selector", ".facet summary") if "Answers" in one.text)
    summary.click()
    box = next(one for one in browser.find_elements("css selector", ".facet[open] label") if one.text.startswith("det"))
    box.click()
    assert set(names(browser)) == {"robust", "weak"}
    address = browser.current_url
    assert "answers=deterministic" in address
    browser.get("about:blank")
    browser.get(address)
    assert set(names(browser)) == {"robust", "weak"}


@pytest.mark.parametrize(
    ("fragment", "css"),
    [
        ("#sort=-clean&cols=name+clean+command&q=a", ".ranking"),
        ("#view=scatter&x=ms&answers=random", "figure.scatter svg circle"),
        ("#view=ranks&answers=random", ".rankbar"),
        ("#view=attacks&sort=name", ".heat"),
        ("#view=images&row=random-b&show=wrong", ".images tbody"),
        ("#view=compare&a=robust&b=weak", ".verdict"),
    ],
)
def test_every_view_has_an_address_that_restores_it_and_back_leads_back(browser, small, fragment, css):
    path = small / "boards" / "small.html"
    open_page(browser, path, fragment)
    wait(browser, css)
    first = browser.execute_script("return document.querySelector('#view').textContent")
    browser.find_element("id", "tab-ranks" if "ranks" not in fragment else "tab-table").click()
    browser.back()
    wait(browser, css)
    assert browser.execute_script("return document.querySelector('#view').textContent") == first
    assert browser.current_url.endswith(fragment)
    written = browser.execute_script("return purebench.state.write(purebench.state.read(arguments[0]))", fragment)
    assert sorted(written[1:].split("&")) == sorted(fragment[1:].split("&"))


def test_the_keyboard_moves_between_the_views(browser, small):
    open_page(browser, small / "boards" / "small.html")
    browser.find_element("id", "tab-table").send_keys(Keys.ARROW_LEFT)
    assert browser.execute_script("return document.activeElement.id") == "tab-compare"
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert browser.execute_script("return document.activeElement.id") == "tab-table"


def test_two_ticked_rows_are_compared_as_the_command_compares_them(browser, small, source):
    by_name = {row.name: row for row in source.rows}
    for a, b in [("robust", "weak"), ("random-a", "random-b"), ("robust", "random-a"), ("weak", "random-b")]:
        open_page(browser, small / "boards" / "small.html")
        for name in (a, b):
            browser.find_element("css selector", f'[aria-label="compare {name}"]').send_keys(Keys.SPACE)
        wait(browser, ".verdict")
        shown = browser.find_element("id", "paired").text
        (pair,) = comparisons([(Side(a, by_name[a].result), Side(b, by_name[b].result))])
        found = browser.execute_script(
            "return purebench.paired.compare(...arguments)", *details(small, a, b), source.board.confidence
        )
        difference = pair.found.difference
        expected = [difference.value, difference.low, difference.high]
        assert found["difference"] == pytest.approx(expected, abs=2e-6)
        assert (found["better"], found["worse"], found["images"]) == (pair.found.better, pair.found.worse, 40)
        if pair.found.test == "mcnemar":
            assert found["p"] == pytest.approx(pair.found.p_value, rel=1e-9)
        else:  # the command draws 9,999 random signs
            error = 5 * (pair.found.p_value / 9_999) ** 0.5 + 2e-4
            assert found["p"] == pytest.approx(pair.found.p_value, abs=error)
        assert f"{100 * difference.value:.1f} [{100 * difference.low:.1f}, {100 * difference.high:.1f}]" in shown


def details(site, *wanted):
    for name in wanted:
        text = (site / "data" / "small" / f"{name}.js").read_text(encoding="utf-8")
        yield json.loads(text[text.index("{") : text.rindex("}") + 1])


def test_percentages_are_rounded_as_in_the_terminal(browser, small):
    """With 48 images 39 right answers are 81.25 %, which Python rounds to 81.2 and toFixed to 81.3."""
    open_page(browser, small / "boards" / "small.html")
    fractions = [right / images for images in (16, 48, 200, 1000) for right in range(-images, images + 1)]
    found = browser.execute_script("return arguments[0].map(purebench.percent)", fractions)
    assert found == [f"{100 * fraction:.1f}" for fraction in fractions]


def test_the_exact_distribution_of_signs_is_that_of_all_signs(browser, small):
    open_page(browser, small / "boards" / "small.html")
    differences = [3, -1, 4, 1, -5, 9, 2, 0, 6, -5]
    total = sum(
        abs(sum(one * (1 if bits >> at & 1 else -1) for at, one in enumerate(differences))) >= abs(sum(differences))
        for bits in range(2 ** len(differences))
    )
    found = browser.execute_script("return purebench.paired.signs(arguments[0])", differences)
    assert found == pytest.approx(total / 2 ** len(differences), rel=1e-12)
    assert browser.execute_script("return purebench.paired.signs([0, 0])") == 1
    assert browser.execute_script("return purebench.paired.signs(Array(20000).fill(1024))") is None


def test_the_image_browser_shows_every_outcome(browser, small, source):
    open_page(browser, small / "boards" / "small.html", "#view=images&row=random-a")
    wait(browser, ".images")
    row = next(one for one in source.rows if one.name == "random-a")
    cells = texts(browser, ".images tbody tr:first-child > *")
    right = [int(row.result.right(attack)[0].sum()) for attack in row.result.attacks]
    assert cells == [
        str(row.result.images[0]),
        str(row.result.labels[0]),
        f"{int(row.result.fresh[0].sum())}/{row.result.fresh_draws}",
        *(f"{count}/{row.result.draws}" for count in right),
    ]
    assert len(texts(browser, ".images tbody tr")) == 40


def test_any_filter_and_sort_of_500_rows_takes_at_most_50_ms(browser, large):
    """Measures processor time of script, style and layout; the limit grows in proportion to that of a plain table."""

    def took(script, *arguments):
        before = spent()
        browser.execute_script(f"{script} document.body.getBoundingClientRect();", *arguments)
        return 1000 * (spent() - before)

    def spent():
        found = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return sum(one["value"] for one in found if one["name"] in PARTS)

    resize(browser, 1280)
    open_page(browser, large / "boards" / "large.html")
    browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    typed = """const field = document.getElementById("search"); field.value = arguments[0];
               field.dispatchEvent(new Event("input"));"""
    steps = {f"search {word}": (typed, word) for word in ("1", "name-2", "")}
    steps["clear"] = ("document.querySelector('.clear').click();", "")
    for key in ("rank", "name", "robust", "clean", "grade"):
        for time in ("first", "second"):
            steps[f"{key}, {time} click"] = ("document.querySelector(`[data-key='${arguments[0]}']`).click();", key)
    for key, value in (("answers", "deterministic"), ("grade", "F")):
        steps[f"{key}={value}"] = ("location.hash = arguments[0];", f"{key}={value}")
    slow = {}
    for name, step in steps.items():
        plain, time = min(took(PLAIN_TABLE) for _ in range(3)), took(*step)
        assert plain > 0
        assert time > 0
        if time > MOST_MS * max(1, plain / PLAIN_MS):
            slow[name] = round(time), round(plain)
    assert slow == {}
    browser.find_element("css selector", ".clear").click()
    assert len(names(browser)) == 50


def test_a_page_of_500_rows_has_at_most_2_mb(large):
    page = (large / "boards" / "large.html").stat().st_size + (large / "data" / "large.js").stat().st_size
    static = sum(path.stat().st_size for path in (large / "static").rglob("*") if path.suffix in (".js", ".css"))
    assert static > 400_000
    assert page + static <= MOST_BYTES


def test_no_request_leaves_the_page(browser, small):
    requested(browser)
    for fragment in VIEWS:
        open_page(browser, small / "boards" / "small.html", fragment)
    for name in ("index.html", "methodology.html", "glossary.html", "changes.html", "defenses/robust.html"):
        open_page(browser, small / name)
    asked = requested(browser)
    assert len(asked) > 20
    assert [one for one in asked if not one.startswith(("file:", "data:", "about:"))] == []


@pytest.mark.parametrize("fragment", VIEWS)
def test_hostile_texts_do_nothing(browser, tmp_path, fragment):
    build_site([hostile_source(tmp_path)], tmp_path / "site", hostile_catalogue(), title=HOSTILE, changes=HOSTILE)
    open_page(browser, tmp_path / "site" / "boards" / "hostile.html", fragment)
    wait(browser, "#view > *")
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return [...document.scripts].every((one) => one.src)")
    assert HOSTILE in browser.execute_script("return document.body.textContent")
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_horizontally_or_reports_an_error(browser, small, large, tmp_path, width, scheme):
    build_site([hostile_source(tmp_path)], tmp_path / "site", hostile_catalogue(), title="x" * 300)
    resize(browser, width, scheme)
    places = [(small / "boards" / "small.html", view) for view in VIEWS]
    places += [(large / "boards" / "large.html", view) for view in VIEWS]
    places += [(path, "") for site in (small, tmp_path / "site") for path in sorted(site.rglob("*.html"))]
    for path, view in places:
        open_page(browser, path, view)
        wait(browser, "main > *")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (path, view)
        assert [entry["message"] for entry in browser.get_log("browser")] == [], (path, view)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible(browser, small, axe, scheme):
    resize(browser, 1280, scheme)
    places = [(small / "boards" / "small.html", view) for view in VIEWS]
    places += [(small / name, "") for name in ("index.html", "methodology.html", "glossary.html")]
    places += [(small / "defenses" / "robust.html", "")]
    browser.set_script_timeout(60)
    for path, view in places:
        open_page(browser, path, view)
        if view == "#view=compare":
            wait(browser, ".verdict")
        assert violations(browser, axe) == [], (path.name, view)
