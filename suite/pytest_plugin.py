"""The pytest plugin: a fixture `robustness`, a marker with its settings, a table at the end, properties for JUnit.

Every pytest start imports this file, so nothing heavy is imported before a test asks for the fixture.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from purebench.robustness import Claim, Robustness
    from purebench.settings import Settings

OPTIONS = {
    "board": "board of the robustness fixture: a bundled one, or the path of a board.yaml (default: fashion-quick)",
    "device": "where its defenses run: cpu, cuda or cuda:0 (default: cpu)",
    "max-images": "images that a claim may take at most (default: all of its board)",
    "budget": "minutes that a claim may take before it is left undecided (default: any number)",
    "confidence": "that a claim is decided rightly (default: 0.95)",
    "undecided": "what becomes of a test whose claim stays undecided: fail, skip or warn (default: fail)",
    "store": "folder of what was found, reused while nothing that decides it changes (default: in pytest's cache)",
}
COLUMNS = ("result", "claim", "estimate", "images", "strongest", "test")
PROPERTY = re.compile(r"robustness\.(\d+)\.(\w+)")


class RobustnessWarning(UserWarning):
    """A claim that stays undecided, or holds but should be doubted."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every option may be given on the command line, or in the ini file with underscores."""
    group = parser.getgroup("purebench", "purebench: robustness of image classifiers")
    for name, help in OPTIONS.items():
        group.addoption(f"--robustness-{name}", default=None, help=help)
        parser.addini(f"robustness_{name.replace('-', '_')}", help=help, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known."""
    config.addinivalue_line(
        "markers",
        "robustness(board=…, confidence=…, max_images=…, budget=…, undecided=…, device=…): settings of the fixture "
        "robustness in this test; every test that uses the fixture has the marker",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks tests that use the fixture, so that -m robustness finds them."""
    if isinstance(item, pytest.Function) and "robustness" in item.fixturenames:
        item.add_marker("robustness")


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> Robustness:
    """Claims about the robustness of defenses: at_least, clean_at_least, not_worse_than, honest."""
    settings = _settings(request.node)  # before what takes seconds to import
    from purebench.pytest_progress import progress
    from purebench.robustness import Robustness

    made = 0

    def settle(claim: Claim) -> None:
        """Notes what became of a claim, and lets the test fail, skip or warn where it does not hold."""
        __tracebackhide__ = True
        nonlocal made
        made += 1
        _note(request.node, made, claim)
        undecided = claim.result == "undecided"
        for doubt in claim.doubts if claim.result == "holds" else ():
            warnings.warn(RobustnessWarning(f"{claim.text}: {doubt}"), stacklevel=4)
        if claim.result == "fails" or (undecided and claim.undecided == "fail"):
            pytest.fail(claim.message, pytrace=False)
        if undecided and claim.undecided == "skip":
            pytest.skip(claim.message)
        if undecided:
            warnings.warn(RobustnessWarning(claim.message), stacklevel=4)

    return Robustness(settings, settle, lambda: progress(request.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Of bad input the sentence that says how to mend it is all there is to read."""
    report = yield
    if call.excinfo is not None and "robustness" in getattr(item, "fixturenames", ()):
        from purebench.errors import PurebenchError

        if isinstance(call.excinfo.value, PurebenchError):
            report.longrepr = str(call.excinfo.value)
    return report


def _settings(item: pytest.Item) -> Settings:
    """From the command line, else the ini file; changed by the test's markers, the nearest last."""
    from purebench.errors import PurebenchError
    from purebench.settings import Settings

    config = item.config
    given = {}
    for option in OPTIONS:
        name = option.replace("-", "_")
        if value := config.getoption(f"--robustness-{option}") or _of_ini(config, name):
            given[name] = value
    try:
        folder = Path(given.pop("store", None) or _cache(config))
        images = folder / "adversarial" / re.sub(r"[^\w.-]+", "-", item.nodeid)
        changes: dict[str, object] = {**given}
        if "max_images" in given:
            changes["max_images"] = _number("max-images", given["max_images"], int)
        for name in ("confidence", "budget"):
            if name in given:
                changes[name] = _number(name, given[name], float)
        for marker in reversed(list(item.iter_markers("robustness"))):
            if marker.args:
                raise PurebenchError(f"robustness: expected settings by name, such as board=…, but got {marker.args}.")
            changes |= marker.kwargs
        return Settings(folder, images).but(changes)
    except PurebenchError as error:
        raise pytest.UsageError(str(error)) from error


def _of_ini(config: pytest.Config, name: str) -> str:
    """An ini file's value, empty if there is none; paths are seen from the file, wherever pytest was started."""
    value = str(config.getini(f"robustness_{name}"))
    if not value or not (name == "store" or (name == "board" and value.endswith((".yaml", ".yml")))):
        return value
    path, here = config.rootpath / value, Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _cache(config: pytest.Config) -> Path:
    """In pytest's cache, which --cache-clear empties; without a cache in .purebench."""
    if config.pluginmanager.has_plugin("cacheprovider") and config.cache is not None:
        return config.cache.mkdir("purebench")
    return config.rootpath / ".purebench" / "pytest"


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise pytest.UsageError(f"--robustness-{name}: expected a number, but got {text!r}.") from None


def _note(item: pytest.Item, number: int, claim: Claim) -> None:
    """What JUnit and the table at the end show; plain words, because workers of xdist send them."""
    told = {"claim": claim.text, "result": str(claim.result), "images": str(claim.images)}
    if claim.estimate is not None:
        told["estimate"] = claim.estimate.percent()
    if claim.strongest is not None:
        told["strongest"] = claim.strongest
    for name, value in told.items():
        item.user_properties.append((f"robustness.{number}.{name}", value))


def _told(reports: list[pytest.TestReport]) -> Iterator[dict[str, str]]:
    """The claims of all tests, in the order in which they ended."""
    for report in reports:
        claims: dict[str, dict[str, str]] = {}
        for name, value in report.user_properties:
            if found := PROPERTY.fullmatch(name):
                claims.setdefault(found[1], {"test": report.nodeid})[found[2]] = str(value)
        yield from claims.values()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of all claims; nothing where there was none."""
    every = [report for some in terminalreporter.stats.values() for report in some]
    told = list(_told([r for r in every if isinstance(r, pytest.TestReport) and r.when == "call"]))
    if not told:
        return
    rows = [[claim.get(column, "") for column in COLUMNS] for claim in told]
    wide = [max(len(row[place]) for row in [list(COLUMNS), *rows]) for place in range(len(COLUMNS))]
    terminalreporter.section("robustness")
    for row in [list(COLUMNS), *rows]:
        colour = {"holds": {"green": True}, "fails": {"red": True}, "undecided": {"yellow": True}}.get(row[0], {})
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True))
        terminalreporter.write_line(cells.rstrip(), **colour)
