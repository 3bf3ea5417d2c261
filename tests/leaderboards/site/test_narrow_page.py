"""Tests the site in a browser on a phone: what is visible without scrolling; and the digits of times."""

import pytest

from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue

from browsing import resize  # isort: skip
from site_sources import large_source, small_source  # isort: skip

pytest.importorskip("selenium")

pytestmark = pytest.mark.browser
WIDTH = 400
MARGIN = 16
ROW = """const row = document.querySelector(".ranking tbody tr");
const cells = [...row.children].filter((one) => one.getBoundingClientRect().width > 0).slice(0, 4);
return cells.map((one) => [one.textContent, one.getBoundingClientRect().left, one.getBoundingClientRect().right]);"""
TIME = """const board = {rows: [], attacks: [], confidence: 0.95};
return purebench.columns(board).find((one) => one.key === "ms").cell({ms: arguments[0]});"""


@pytest.fixture(scope="module", params=[small_source, large_source], ids=["small", "large"])
def page(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("phone") / "site"
    source = request.param(out.parent)
    build_site([source], out, Catalogue())
    return (out / "boards" / f"{source.board.name}.html").as_uri(), source.rows[0]


def test_rank_name_grade_and_robust_accuracy_are_visible_on_a_phone(browser, page):
    address, first = page
    resize(browser, WIDTH)
    browser.get(address)
    (_, left, _), (name, *_), (grade, *_), (robust, _, right) = browser.execute_script(ROW)
    assert name.startswith(first.name)
    assert len(grade.removeprefix("grade ")) == 1
    assert robust.startswith(f"{100 * first.robust.value:.1f}")
    assert left >= MARGIN
    assert right <= WIDTH - MARGIN


@pytest.mark.parametrize(
    ("ms", "told"), [(0.01234, "0.0123"), (1.5, "1.50"), (99.96, "100"), (123.4, "123"), (4567, "4,570"), (0, "0")]
)
def test_times_have_three_significant_digits(browser, page, ms, told):
    browser.get(page[0])
    assert browser.execute_script(TIME, ms) == f"{told} ms"
