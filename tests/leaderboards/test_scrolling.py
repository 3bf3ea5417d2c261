"""Tests in a browser, without a driver, that a table wider than the page shows that it can be scrolled."""

import re
import shutil
import subprocess

import pytest

from purebench.leaderboards.page import render, write_page

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
PROBE = """<script>
const head = [...document.querySelectorAll("th.attack button")].map((button) => button.getClientRects().length);
const axis = document.querySelector("td.axis .plot").getBoundingClientRect();
const box = document.querySelector(".scroll").getBoundingClientRect();
document.body.dataset.lines = Math.max(...head);
document.body.dataset.whole = axis.right < box.right;
document.body.dataset.cue = getComputedStyle(document.querySelector("#ranking"), "::after").content;
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize(("width", "cut"), [(2400, False), (1000, True), (500, True)])
def test_a_table_wider_than_the_page_shows_that_it_scrolls(demo, tmp_path, width, cut):
    path = tmp_path / "board.html"
    page = render(demo.board, demo.results, demo.classes, {})
    write_page(path, page.replace("</body>", PROBE + "</body>"))
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path / 'p'}")
    command = [CHROMIUM, *flags, f"--window-size={width},900", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    assert ('class="scroll more" role="region" aria-labelledby="ranking"' in shown) == cut
    found = dict(re.findall(r'data-(lines|whole|cue)="([^ ]*?(?: [^ ]*?)?)"', shown[shown.index("<body") :][:300]))
    assert found["lines"] == "1"  # headings of attacks do not wrap
    assert found["whole"] == "true"  # intervals are never cut off
    assert ("scroll →" in found["cue"].replace("&quot;", "")) == cut
