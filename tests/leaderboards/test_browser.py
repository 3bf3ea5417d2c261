"""Tests the page in a browser: sorting by mouse and keyboard, links, and no horizontal scrolling of the page."""

import pytest

from purebench.leaderboards.page import render, write_page
from purebench.results.ranking.rank import rank

from browsing import resize  # isort: skip

pytest.importorskip("selenium")
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser, demo, tmp_path):
    yield from opened(browser, demo, tmp_path)


@pytest.fixture
def curves(browser, cascade, tmp_path):
    yield from opened(browser, cascade, tmp_path)


def opened(browser, shown, folder):
    path = folder / "board.html"
    write_page(path, render(shown.board, shown.results, shown.classes, shown.originals))
    resize(browser, 1280)
    browser.get(path.as_uri())
    yield browser
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def names(page):
    return [cell.get_attribute("data-value") for cell in page.find_elements("css selector", ".ranking tbody .name")]


def header(page, label):
    for cell in page.find_elements("css selector", ".ranking thead th"):
        if cell.text.replace("\n", "") == label:
            return cell
    raise AssertionError(f"no header {label!r}")


def expected(demo, value, reverse):
    """Returns the names sorted by `value`; rows without a value are last, equal ones in the order of their ranks."""
    rows = rank(demo.results)
    known = sorted((row for row in rows if value(row) is not None), key=value, reverse=reverse)
    return [row.name for row in known] + [row.name for row in rows if value(row) is None]


def test_a_click_sorts_and_a_second_click_reverses_the_order(page, demo):
    def accuracy(row):
        (cell,) = (cell for cell in row.cells if cell.attack == "square")
        return None if cell.failed or cell.estimate is None else cell.estimate.value

    square = header(page, "square")
    assert header(page, "#").get_attribute("aria-sort") == "ascending"
    square.find_element("tag name", "button").click()
    assert square.get_attribute("aria-sort") == "descending"
    assert header(page, "#").get_attribute("aria-sort") is None
    assert names(page) == expected(demo, accuracy, reverse=True)
    square.find_element("tag name", "button").click()
    assert square.get_attribute("aria-sort") == "ascending"
    assert names(page) == expected(demo, accuracy, reverse=False)


def test_the_keyboard_sorts_and_restores_the_order_of_ranks(page, demo):
    name = header(page, "Defense")
    name.find_element("tag name", "button").send_keys(Keys.ENTER)
    assert names(page) == sorted(found.name for found in demo.results)
    header(page, "#").find_element("tag name", "button").send_keys(Keys.SPACE)
    assert names(page) == [row.name for row in rank(demo.results)]


def test_the_name_of_a_defense_links_to_its_section(page):
    page.execute_script("document.documentElement.style.scrollBehavior = 'auto'")
    page.find_element("link text", "vae-resample").click()
    assert page.current_url.endswith("#defense-vae-resample")
    top = page.execute_script("return document.querySelector(':target').getBoundingClientRect().top")
    assert -1 <= top <= 100


@pytest.mark.parametrize("width", [320, 400, 768, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_never_scrolls_horizontally(page, width, scheme):
    resize(page, width, scheme)
    page.refresh()
    wide, inner = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= width
    assert inner == width


@pytest.mark.parametrize("width", [320, 400, 768, 1280, 1920])
def test_curves_fit_any_screen_and_their_labels_are_neither_cut_nor_overlapping(curves, cascade, width):
    resize(curves, width)
    curves.refresh()
    wide, drawn, cut, covered = curves.execute_script(
        """
        const box = element => element.getBoundingClientRect();
        const charts = [...document.querySelectorAll("svg.curve")];
        const cut = [], covered = [];
        for (const chart of charts) {
          const outer = box(chart), words = [...chart.querySelectorAll("text")];
          for (const word of words) {
            const inner = box(word);
            if (inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1
                || inner.bottom > outer.bottom + 1) cut.push(word.textContent);
            for (const other of words) {
              const next = box(other);
              if (other !== word && inner.left < next.right - 1 && next.left < inner.right - 1
                  && inner.top < next.bottom - 4 && next.top < inner.bottom - 4)
                covered.push(word.textContent + " / " + other.textContent);
            }
          }
        }
        return [document.documentElement.scrollWidth, charts.length, cut, covered];
        """
    )
    assert wide <= width
    assert drawn == 1 + len(cascade.results)  # all curves together; of each row its curve, or its draws if it is random
    assert cut == []
    assert covered == []


def test_all_pictures_load(page):
    loaded = page.execute_script("return [...document.images].map(image => image.complete && image.naturalWidth)")
    assert loaded
    assert set(loaded) == {32}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_sufficient_contrast(page, scheme):
    """WCAG AA requires a contrast of 4.5 for text."""
    resize(page, 1280, scheme)
    contrasts = page.execute_script(
        """
        const style = getComputedStyle(document.documentElement);
        const light = name => {
          const hex = style.getPropertyValue(name).trim();
          const [r, g, b] = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16) / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const lines = [0, 1, 2, 3, 4, 5, 6, 7].map(i => "--line-" + i);
        const found = {};
        for (const ground of ["--paper", "--card"])
          for (const ink of ["--ink", "--soft", "--accent", "--warn", "--random", ...lines]) {
            const [a, b] = [light(ground), light(ink)].sort((x, y) => y - x);
            found[ink + " on " + ground] = (a + 0.05) / (b + 0.05);
          }
        return found;
        """
    )
    assert {pair: contrast for pair, contrast in contrasts.items() if contrast < 4.5} == {}
