"""The pytest plugin: the fixture `robustness`, a marker with its settings, a summary table, and properties for JUnit.

Every pytest start imports this file, so nothing heavy is imported before a test asks for the fixture.
"""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Generator, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from purebench.testing.claim import Claim
    from purebench.testing.fixture import Robustness
    from purebench.testing.settings import Settings

OPTIONS = {
    "board": "board of the robustness fixture: a bundled one, or the path of a board.yaml (default: fashion-quick)",
    "device": "where its defenses run: cpu, cuda or cuda:0 (default: cpu)",
    "max-images": "largest number of images that a claim may use (default: all images of its board)",
    "budget": "time limit of a claim in minutes, after which it is undecided (default: no limit)",
    "confidence": "confidence of the decision about a claim (default: 0.95)",
    "undecided": "result of a test whose claim is undecided: fail, skip or warn (default: fail)",
    "store": (
        "folder of the records, which are reused until something that affects them changes (default: in pytest's cache)"
    ),
}
GRADED = "* the worst letter of integrity and attack adequacy; the interval of the claim decides about its precision"
"""The note below the table about the column of grades, whose heading has a star."""
COLUMNS = ("result", "grade", "claim", "estimate", "images", "strongest", "test")
LONGEST = 150
"""Number of characters of a test's name that are used in a folder's name."""
LEAST = 12
"""Smallest width of a column of the table in a narrow terminal, in characters."""
PROPERTY = re.compile(r"robustness\.(\d+)\.(\w+)")


class RobustnessWarning(UserWarning):
    """Warning of a claim that is undecided, or that holds with warnings."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add every option to the command line and, with underscores, to the ini file."""
    group = parser.getgroup("purebench", "purebench: robustness of image classifiers")
    for name, help in OPTIONS.items():
        group.addoption(f"--robustness-{name}", default=None, help=help)
        parser.addini(f"robustness_{name.replace('-', '_')}", help=help, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "robustness(board=…, confidence=…, max_images=…, budget=…, undecided=…, device=…): settings of the fixture "
        "robustness in this test; every test that uses the fixture has the marker",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark tests that use the fixture, so that -m robustness finds them."""
    if isinstance(item, pytest.Function) and "robustness" in item.fixturenames:
        item.add_marker("robustness")


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> Robustness:
    """Claims about the robustness of defenses: at_least, at_most, clean_at_least, not_worse_than, honest."""
    settings = _settings(request.node)  # before the imports, which take seconds
    from purebench.testing.fixture import Robustness
    from purebench.testing.progress import claim_progress

    made = 0

    def settle(claim: Claim) -> None:
        """Record the result of a claim, and let the test fail, skip or warn if it does not hold."""
        __tracebackhide__ = True
        nonlocal made
        made += 1
        _note(request.node, made, claim)
        undecided = claim.result == "undecided"
        for found in claim.warnings if claim.result == "holds" else ():
            warnings.warn(RobustnessWarning(f"{claim.text}: {found}"), stacklevel=4)
        if claim.result == "fails" or (undecided and claim.undecided == "fail"):
            pytest.fail(claim.message, pytrace=False)
        if undecided and claim.undecided == "skip":
            pytest.skip(claim.message)
        if undecided:
            warnings.warn(RobustnessWarning(claim.message), stacklevel=4)

    return Robustness(settings, settle, lambda: claim_progress(request.config))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report bad input by its message alone, without a traceback."""
    report = yield
    if call.excinfo is not None and "robustness" in getattr(item, "fixturenames", ()):
        from purebench.core.errors import PurebenchError

        if isinstance(call.excinfo.value, PurebenchError):
            report.longrepr = str(call.excinfo.value)
    return report


def _settings(item: pytest.Item) -> Settings:
    """Return the settings from the command line, else the ini file, changed by the test's markers, the nearest last."""
    from purebench.core.errors import PurebenchError
    from purebench.testing.settings import Settings

    config = item.config
    given: dict[str, str] = {}
    for option in OPTIONS:
        name = option.replace("-", "_")
        if value := config.getoption(f"--robustness-{option}"):
            given[name] = _placed(name, value, config.invocation_params.dir)
        elif value := str(config.getini(f"robustness_{name}")):
            given[name] = _placed(name, value, config.rootpath)
    folder = Path(given.pop("store", "") or _cache(config))
    test = re.sub(r"[^\w.-]+", "-", item.nodeid)[-LONGEST:]
    # the checksum distinguishes names that differ only in characters that were replaced or cut off
    images = folder / "adversarial" / f"{test}-{crc32(item.nodeid.encode()):08x}"
    changes: dict[str, object] = {**given}
    if "max_images" in given:
        changes["max_images"] = _number("max_images", given["max_images"], int)
    for name in ("confidence", "budget"):
        if name in given:
            changes[name] = _number(name, given[name], float)
    for marker in reversed(list(item.iter_markers("robustness"))):
        if marker.args:
            raise PurebenchError(f"robustness: expected settings by name, such as board=…, but got {marker.args}.")
        changes |= marker.kwargs
    return Settings(store=folder, images=images).but(changes)


def _placed(name: str, value: str, folder: Path) -> str:
    """Return a setting's text; a relative path is resolved against this folder, even if a test changes the folder."""
    is_path = name == "store" or (name == "board" and value.endswith((".yaml", ".yml")))
    return str(folder / value) if is_path else value


def _cache(config: pytest.Config) -> Path:
    """Return the folder in pytest's cache, which --cache-clear empties; without a cache, .purebench."""
    if config.pluginmanager.has_plugin("cacheprovider") and config.cache is not None:
        return config.cache.mkdir("purebench")
    return config.rootpath / ".purebench" / "pytest"


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    from purebench.core.errors import PurebenchError

    try:
        return kind(text)
    except ValueError:
        whole = "a whole number" if kind is int else "a number"
        raise PurebenchError(f"robustness_{name}: expected {whole}, but got {text!r}.") from None


def _note(item: pytest.Item, number: int, claim: Claim) -> None:
    """Store the properties of a claim for JUnit and the summary table; as text, because workers of xdist send them."""
    told = {"claim": claim.text, "result": str(claim.result), "images": str(claim.images)}
    if claim.estimate is not None:
        told["estimate"] = claim.estimate.percent()
    if claim.grade is not None:
        told["grade"] = str(claim.grade)
    if claim.strongest is not None:
        told["strongest"] = claim.strongest
    for name, value in told.items():
        item.user_properties.append((f"robustness.{number}.{name}", value))


def _told(reports: list[pytest.TestReport]) -> Iterator[dict[str, str]]:
    """Yield the claims of all tests; a report has those of its test's set-up and call as well as its own."""
    tests: dict[str, dict[str, dict[str, str]]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if found := PROPERTY.fullmatch(name):
                claims = tests.setdefault(report.nodeid, {})
                claims.setdefault(found[1], {"test": report.nodeid})[found[2]] = str(value)
    for claims in tests.values():
        yield from claims.values()


def _narrowed(widths: Sequence[int], most: int) -> list[int]:
    """Compute widths of columns that fit side by side: the widest is reduced first, down to `LEAST`.

    >>> _narrowed([5, 70, 60], 100)
    [5, 46, 45]
    """
    fitting = list(widths)
    while sum(fitting) + 2 * (len(fitting) - 1) > most and max(fitting) > LEAST:
        fitting[fitting.index(max(fitting))] -= 1
    return fitting


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a row of the table; cells that are too wide continue in the next line."""
    cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
    for parts in zip_longest(*cells, fillvalue=""):
        yield "  ".join(part.ljust(width) for part, width in zip(parts, widths, strict=True)).rstrip()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table of all claims; nothing if there are none."""
    every = [report for some in terminalreporter.stats.values() for report in some]
    told = list(_told([report for report in every if isinstance(report, pytest.TestReport)]))
    if not told:
        return
    rows = [[claim.get(column, "") for column in COLUMNS] for claim in told]
    heads = [f"{column} *" if column == "grade" else column for column in COLUMNS]
    wide = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(COLUMNS))]
    if terminalreporter.isatty:  # only a terminal limits the width
        wide = _narrowed(wide, terminalreporter._tw.fullwidth - 1)
    terminalreporter.section("robustness")
    for row in [heads, *rows]:
        colour = {"holds": {"green": True}, "fails": {"red": True}, "undecided": {"yellow": True}}.get(row[0], {})
        for line in _lines(row, wide):
            terminalreporter.write_line(line, **colour)
    if any("grade" in claim for claim in told):
        terminalreporter.write_line(GRADED)
