"""Tests the pictures of a site in a browser: each is beside its image, loaded on demand, and visible on a phone."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from purebench.cli.commands.sharing.site_boards import load_source
from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue
from purebench.leaderboards.site.pictures import find_pictures
from purebench.results.files.bundles.bundle import read_bundle

from browsing import open_page, requested, resize, violations  # isort: skip
from picture_bundles import pictured_board  # isort: skip

pytest.importorskip("selenium")
pytestmark = pytest.mark.browser

IMAGES, BLOCK = 60, 20
WAIT = """const done = arguments[arguments.length - 1];
const look = () => [...document.querySelectorAll(".triple")].every((one) => one.textContent !== "loading …")
  && document.querySelector(".images") ? done(true) : setTimeout(look, 20); look();"""
SHOWN = """return [...document.querySelectorAll(".images tbody tr")].map((row) => [
  row.querySelector("th").textContent, ...[...row.querySelectorAll("img")].map((one) => one.src.split(",")[1])]);"""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    return pictured_board(tmp_path_factory.mktemp("pictured"), IMAGES, BLOCK)


@pytest.fixture(scope="module")
def page(board, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "site"
    source = load_source(board.results)
    build_site([source], out, Catalogue(), pictures=find_pictures([source], [board.bundles["none"]]))
    return out / "boards" / "small.html"


def open_images(browser, page, fragment):
    requested(browser)
    open_page(browser, page, f"#view=images&{fragment}")
    browser.set_script_timeout(20)
    assert browser.execute_async_script(WAIT)


def asked(browser):
    """The files of pictures that the page has loaded."""
    urls = requested(browser)
    assert [one for one in urls if not one.startswith(("file:", "data:", "about:"))] == []
    return sorted({one.split("/small/")[-1] for one in urls if "/pictures/" in one})


def test_each_example_is_beside_its_image_and_only_visible_blocks_are_loaded(browser, board, page):
    bundle = read_bundle(board.bundles["none"])
    place = {str(image): row for row, image in enumerate(bundle.result.images)}
    for number, visible, files in (("1", range(50), ("0", "1", "2")), ("2", range(50, 60), ("2",))):
        open_images(browser, page, f"row=none&page={number}")
        shown = browser.execute_script(SHOWN)
        assert [place[image] for image, *_ in shown] == list(visible)
        for image, _, adversarial, _ in shown:
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(adversarial))))
            assert np.array_equal(pixels, np.round(255 * bundle.examples[place[image], 0]).astype(np.uint8))
        folders = ("clean", "rows/none")
        assert asked(browser) == sorted(f"{folder}/{block}.js" for folder in folders for block in files)
        assert browser.get_log("browser") == []


def test_other_views_and_rows_without_a_bundle_load_no_pictures(browser, page):
    open_images(browser, page, "row=blur")
    assert asked(browser) == []
    assert browser.execute_script("return document.images.length") == 0
    assert "the site was built without its bundle" in browser.find_element("css selector", ".legend").text
    open_images(browser, page, "row=none&pics=none")
    assert asked(browser) == []
    assert browser.execute_script("return document.images.length") == 0


def test_the_size_of_the_pictures_is_part_of_the_address(browser, page):
    width = "return document.querySelector('.triple img').getBoundingClientRect().width"
    resize(browser, 1280)
    open_images(browser, page, "row=none")
    small = browser.execute_script(width)
    choice = browser.find_element("xpath", "//label[starts-with(., 'Pictures')]/select")
    choice.send_keys("large")
    assert browser.execute_async_script(WAIT)
    assert browser.execute_script(width) > 2 * small
    assert browser.current_url.endswith("pics=large")


@pytest.mark.parametrize("size", ["small", "large"])
def test_all_three_pictures_are_visible_on_a_phone(browser, page, size):
    resize(browser, 400)
    open_images(browser, page, f"row=none&pics={size}")
    ends = browser.execute_script(
        "return [...document.querySelectorAll('.triple img')].map((one) => one.getBoundingClientRect().right)"
    )
    assert len(ends) == 150
    assert max(ends) <= 400 - 16
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400


def test_a_missing_file_of_pictures_is_reported_in_its_cells(browser, board, tmp_path):
    source = load_source(board.results)
    found = find_pictures([source], [board.bundles["none"]])
    build_site([source], tmp_path / "site", Catalogue(), pictures=found)
    (tmp_path / "site/pictures/small/rows/none/1.js").unlink()
    open_images(browser, tmp_path / "site/boards/small.html", "row=none")
    cells = [one.text for one in browser.find_elements("css selector", ".triple")]
    assert [number for number, text in enumerate(cells) if "cannot be loaded" in text] == list(range(20, 40))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_accessible(browser, page, axe, scheme):
    resize(browser, 1280, scheme)
    open_images(browser, page, "row=none")
    assert browser.execute_script("return document.images.length")
    assert violations(browser, axe) == []
