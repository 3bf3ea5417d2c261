"""Tests the column of claimed accuracies of a site in a browser."""

import pytest

from purebench.leaderboards.site.build import build_site
from purebench.leaderboards.site.cards import Catalogue
from purebench.results.figures.published_claims import PROTOCOL, claims_of

from browsing import open_page  # isort: skip
from published_rows import published_source  # isort: skip

pytest.importorskip("selenium")
pytestmark = pytest.mark.browser

COLUMN = """const heads = [...document.querySelectorAll(".ranking thead th")];
const place = heads.findIndex((one) => one.textContent.startsWith("Claimed")) - heads.length;
return [...document.querySelectorAll(".ranking tbody tr")].map(
  (row) => [...row.children].at(place).innerText.trim());"""


def test_the_table_shows_and_sorts_claims_with_attack_images_and_source(browser, tmp_path):
    source = published_source(tmp_path)
    build_site([source], tmp_path / "site", Catalogue())
    open_page(browser, tmp_path / "site" / "boards" / "published.html")
    told = {
        row.name: f"{found[0].claim.robust} AutoAttack, 10,000 images" if (found := claims_of(row.result)) else "–"
        for row in source.rows
    }
    assert told["carmon-2019"].startswith("59.53 ")
    assert [" ".join(one.split()) for one in browser.execute_script(COLUMN)] == [told[row.name] for row in source.rows]
    assert PROTOCOL in [one.text for one in browser.find_elements("css selector", ".legend")]
    (link,) = [one for one in browser.find_elements("css selector", ".claimed a") if one.text == "59.53"]
    assert link.get_attribute("href").startswith("https://github.com/RobustBench/robustbench/")
    for first in ("59.53", "0.0"):
        browser.find_element("css selector", '[data-key="claimed"]').click()
        shown = browser.execute_script(COLUMN)
        assert shown[0].startswith(first)
        assert shown[2] == "–", "rows without a claim are last in both directions"
