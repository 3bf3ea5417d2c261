"""A headless Chromium for tests: the fixture `browser`, its window's size and colours, and what it has requested."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A driver of Chromium, with its logs."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.get("about:blank")  # instead of the browser's own start page, which loads files of its own
    yield driver
    driver.quit()


def resize(browser, width, scheme="light"):
    """Sets the width of the window, and whether the user prefers light or dark."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def open_page(browser, path, fragment=""):
    """Opens a page, with an empty log of messages."""
    browser.get("about:blank")  # so that a changed fragment is another page
    browser.get_log("browser")
    browser.get(path.as_uri() + fragment)


def requested(browser):
    """Returns the addresses that were requested since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of axe-core: PUREBENCH_AXE, or installed by npm; without both, the test is skipped."""
    if "PUREBENCH_AXE" in os.environ:
        return Path(os.environ["PUREBENCH_AXE"]).read_text(encoding="utf-8")
    place = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "axe-core@4"], cwd=place, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs npm and its registry, or PUREBENCH_AXE")
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(browser, axe):
    """Returns the rules of axe-core that the page breaks, each with some of its elements."""
    browser.set_script_timeout(60)
    browser.execute_script(axe)
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 15
    return [(one["id"], [node["html"][:150] for node in one["nodes"]][:3]) for one in found["violations"]]
