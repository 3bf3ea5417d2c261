"""Tests the pytest plugin in sessions of pytest: outcomes and messages, in a terminal, with xdist, and in JUnit XML."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from purebench.testing.pytest_plugin import _lines, _narrowed

from claimed import write_claimed  # isort: skip

TESTS = """
import pytest

def test_robust(robustness):
    robustness.at_least("trades", 0.2)
    robustness.clean_at_least("trades", 0.2)

def test_not_robust(robustness):
    robustness.at_least("none", 0.9)

def test_random(robustness):
    robustness.at_least("own.py:smooth", 0.97, max_images=32)

def test_masked(robustness):
    from purebench.checks.attack_variants import Effort
    robustness.honest("own.py:masked", effort=Effort(steps=5, queries=5))

def test_crash(robustness):
    robustness.at_least("own.py:crash", 0.0)

def test_undecided(robustness):
    robustness.at_least("trades", 0.75, max_images=8)

@pytest.mark.robustness(undecided="skip", max_images=8)
def test_skipped(robustness):
    robustness.at_least("trades", 0.75)

@pytest.mark.robustness(undecided="warn", max_images=8)
def test_warned(robustness):
    robustness.not_worse_than("trades", "none", margin=0.01)

def test_without():
    pass
"""
ENDS = {
    "test_robust": "PASSED",
    "test_not_robust": "FAILED",
    "test_random": "FAILED",
    "test_masked": "FAILED",
    "test_crash": "FAILED",
    "test_undecided": "FAILED",
    "test_skipped": "SKIPPED",
    "test_warned": "PASSED",
    "test_without": "PASSED",
}

CLAIMS = {name: end for name, end in ENDS.items() if name != "test_without"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    write_claimed(folder)
    (folder / "test_claims.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\nrobustness_board = board.yaml\nrobustness_store = found\n", encoding="utf-8"
    )
    return folder


def session(folder: Path, *words: str) -> str:
    """Runs a session of pytest in the folder, which may fail tests, and returns its output."""
    command = [sys.executable, "-m", "pytest", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(folder: Path) -> str:
    return session(folder, "-v", "-n", "0")


def ends(told: str) -> dict[str, str]:
    lines = [line.split() for line in told.splitlines() if "test_claims.py::" in line and "%]" in line]
    return {words[0].rpartition("::")[2]: words[1] for words in lines}


def message(told: str, name: str) -> str:
    """Returns the text printed below the heading of a failed test."""
    return told.partition(f"_ {name} _")[2].partition("\n____")[0]


def rows(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yields every record of every store with its row number, which changes if the record is written again."""
    for path in sorted((folder / "found").glob("*.sqlite")):
        with sqlite3.connect(path) as saved:
            yield from ((path.name, *row) for row in saved.execute("SELECT rowid, key FROM records ORDER BY rowid"))
        saved.close()


def test_every_claim_has_the_expected_outcome(told: str) -> None:
    assert ends(told) == ENDS


def test_a_failure_reports_estimate_strongest_attack_command_and_images(told: str, folder: Path) -> None:
    failed = message(told, "test_not_robust")
    assert "none on claimed: robust accuracy ≥ 90 %: fails" in failed
    assert "estimate   " in failed
    assert "95 %, at any time" in failed
    assert "strongest  apgd-exact leaves" in failed
    (images,) = re.findall(
        r"purebench run board.yaml --defense none --images (\d+) --store found/claimed--none.sqlite", failed
    )
    kept = folder / failed.partition("images     ")[2].splitlines()[0]
    saved = np.load(kept / "adversarial.npz")
    moved = np.abs(saved["adversarial"] - saved["images"]).max(axis=(1, 2, 3))
    assert saved["adversarial"].shape == (int(images), 1, 32, 32)
    assert 0 < moved.max() <= 4 / 255 + 1e-6
    assert saved["broken"].any()
    assert Image.open(kept / "adversarial.png").width > 100


def test_the_command_of_a_failure_repeats_its_results(told: str, folder: Path) -> None:
    command = message(told, "test_random").partition("again      purebench ")[2].splitlines()[0].split()
    before = list(rows(folder))
    again = subprocess.run(
        [sys.executable, "-m", "purebench", *command], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "smooth" in again.stdout
    assert list(rows(folder)) == before


def test_a_clear_claim_is_decided_on_few_images(told: str, folder: Path) -> None:
    """A claim that is clearly true is decided on fewer images than the board has."""
    (line,) = [line for line in told.splitlines() if "trades on claimed: robust accuracy ≥ 20 %" in line]
    assert 8 <= int(line.partition("]")[2].split()[0]) < 32


def test_messages_name_masked_gradients_errors_and_undecided_claims(told: str, folder: Path) -> None:
    assert "fails           gradients agree with finite differences" in message(told, "test_masked")
    kept = folder / message(told, "test_masked").partition("images     ")[2].splitlines()[0]
    assert (kept / "adversarial.png").is_file()
    assert "again      purebench check own.py:masked --board board.yaml" in message(told, "test_masked")
    assert "no answer today" in message(told, "test_crash")
    assert "robust accuracy ≥ 75 %: undecided" in message(told, "test_undecided")
    assert "stopped    at max_images = 8; more images may decide" in message(told, "test_undecided")
    assert "RobustnessWarning: trades on claimed: robust accuracy at most 1 point below that of none" in told


def test_the_column_of_grades_says_that_precision_is_left_out(told: str, folder: Path) -> None:
    below = told.partition(" robustness ===")[2].splitlines()[1:]
    assert "grade *" in below[0]
    assert any(line.startswith("* the worst letter of integrity and attack adequacy") for line in below)


def test_a_second_session_with_xdist_gives_the_same_outcomes_from_the_store(told: str, folder: Path) -> None:
    before = list(rows(folder))
    again = session(folder, "-v", "-n", "2", "--junitxml", "junit.xml", "-m", "robustness")
    found = {line.split()[-1].rpartition("::")[2]: line.split()[-2] for line in again.splitlines() if "[gw" in line}
    assert {name: end for name, end in found.items() if name in ENDS} == CLAIMS
    assert list(rows(folder)) == before
    assert table(again) == table(told)
    cases = ElementTree.parse(folder / "junit.xml").iter("testcase")
    properties = {
        case.attrib["name"]: {p.attrib["name"]: p.attrib["value"] for p in case.iter("property")} for case in cases
    }
    assert "test_without" not in properties
    assert properties["test_not_robust"]["robustness.1.result"] == "fails"
    assert properties["test_robust"]["robustness.1.grade"] == "C"
    assert "robustness.2.grade" not in properties["test_robust"]
    assert properties["test_robust"]["robustness.2.claim"] == "trades on claimed: clean accuracy ≥ 20 %"
    assert float(properties["test_robust"]["robustness.1.estimate"].partition(" %")[0]) > 20


def table(told: str) -> list[str]:
    """Returns the lines of the summary table in alphabetical order."""
    below = told.partition(" robustness ===")[2].splitlines()[1:]
    return sorted(line for line in below if "test_claims.py::test_" in line and line.split()[0] in RESULTS)


RESULTS = ("holds", "fails", "undecided")


def test_a_changed_defense_is_evaluated_again(told: str, folder: Path) -> None:
    before = len(list(rows(folder)))
    own = folder / "own.py"
    own.write_text(own.read_text(encoding="utf-8").replace("no answer today", "no answer tomorrow"), encoding="utf-8")
    assert "no answer tomorrow" in session(folder, "-n", "0", "-k", "test_crash")
    assert len(list(rows(folder))) > before


def test_invalid_settings_are_reported(folder: Path) -> None:
    for words, told in (
        (["--robustness-undecided=maybe"], "undecided: 'maybe' is unknown; known: fail, skip, warn"),
        (["--robustness-max-images=few"], "robustness_max_images: expected a whole number, but got 'few'"),
        (["--robustness-confidence=2"], "confidence: expected a fraction, such as 0.4 for 40 %, but got 2.0"),
    ):
        printed = session(folder, "-n", "0", "-k", "test_undecided", *words)
        assert told in printed
        assert len(printed.splitlines()) < 25


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_shows_the_progress_of_a_claim(told: str, folder: Path) -> None:
    import pty

    (folder / "test_watched.py").write_text(
        "def test_it(robustness):\n    robustness.clean_at_least('own.py:smooth', 0.1)\n", encoding="utf-8"
    )
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pytest", "-n", "0", "test_watched.py", "--robustness-store=elsewhere"]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PY_COLORS": "1"}
    env.pop("NO_COLOR", None)
    with subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=theirs, env=env) as session:
        os.close(theirs)
        seen = b""
        with suppress(OSError):  # on Linux, reading raises an error once the other side of the terminal is closed
            while part := os.read(ours, 4096):
                seen += part
    os.close(ours)
    assert session.returncode == 0
    shown = seen.decode()
    assert "\x1b7 own.py-smooth · clean, block 1: 1 of 2 jobs\x1b[K\x1b8" in shown
    assert "\x1b7 own.py-smooth · worst-case, block 1: 2 of 2 jobs\x1b[K\x1b8" in shown
    assert shown.rindex("\x1b7\x1b[K\x1b8") > shown.rindex("2 of 2 jobs")
    assert "smooth · clean" not in session_of_watched(folder)


def session_of_watched(folder: Path) -> str:
    """Returns the output of the same test without a terminal."""
    return session(folder, "-n", "0", "test_watched.py", "--robustness-store=again").partition("= robustness =")[0]


def test_claims_of_fixtures_are_in_the_table_and_settings_do_not_depend_on_the_working_directory(folder: Path) -> None:
    (folder / "test_elsewhere.py").write_text(
        """
import pytest

@pytest.fixture
def around(robustness, monkeypatch, tmp_path):
    robustness.clean_at_least("none", 0.2)
    monkeypatch.chdir(tmp_path)
    yield
    robustness.clean_at_least("none", 0.1)

def test_it(robustness, around):
    robustness.at_least("none", 0.9)
""",
        encoding="utf-8",
    )
    told = session(folder, "-n", "0", "test_elsewhere.py")
    below = [line.split()[0] for line in told.partition(" robustness ===")[2].splitlines() if line]
    assert [word for word in below if word in RESULTS] == ["holds", "fails", "holds"]
    assert f"--store {folder}/found/claimed--none.sqlite" in told


def test_the_table_fits_the_width_of_a_terminal() -> None:
    row = [
        "holds",
        "trades on claimed: robust accuracy ≥ 20 %",
        "x" * 40,
        "tests/test_a_long_one.py::test_of_something",
    ]
    widths = _narrowed([len(cell) for cell in row], 80)
    lines = list(_lines(row, widths))
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("holds  trades on claimed:")
    assert "".join("".join(lines).split()).count("x") == 40
    assert _narrowed([5, 6], 80) == [5, 6]


def test_a_warning_points_to_the_line_of_the_claim(folder: Path) -> None:
    (folder / "test_warns.py").write_text(
        "import pytest\n\n\n@pytest.mark.robustness(undecided='warn', max_images=8)\n"
        "def test_it(robustness):\n    robustness.at_least('trades', 0.75)\n",
        encoding="utf-8",
    )
    assert "test_warns.py:6: RobustnessWarning" in session(folder, "-n", "0", "test_warns.py")


def test_invalid_input_is_reported_without_a_traceback(folder: Path) -> None:
    (folder / "test_bad.py").write_text(
        "def test_it(robustness):\n    robustness.at_least('none', 40)\n", encoding="utf-8"
    )
    told = message(session(folder, "-n", "0", "test_bad.py"), "test_it")
    assert "accuracy: expected a fraction, such as 0.4 for 40 %, but got 40." in told
    assert len(told.splitlines()) < 8
