"""Tests that submissions are complete and unchanged, and that hostile descriptions are refused or inert."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from forged_bundles import toy_bundle

from purebench.boards.parse import load_board
from purebench.checks.verification.entry import entry_of, read_entry
from purebench.checks.verification.submission import check_submission, write_submission
from purebench.checks.verification.summary import summary, summary_markdown
from purebench.checks.verification.verification import verify_bundle
from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import make_console
from purebench.execution.board_run import run_board
from purebench.leaderboards.table_files import cell
from purebench.results.files.bundles.writing import make_bundle
from purebench.statistics.reproduction import Conclusion

HOSTILE = "<script>alert(1)</script> [a](javascript:alert(1)) @team `x` | =1+1 https://example.org"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_bundle(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    described = {"title": "A title", "authors": ["A. Author"], "note": HOSTILE, "year": 2026}
    return write_submission(bundle, tmp_path / "submissions", described).folder


def test_a_submission_is_valid_and_can_be_verified_where_only_its_folder_is(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "toy" / "linear")
    found = check_submission(moved)
    assert (found.entry.title, found.entry.authors, found.entry.year) == ("A title", ["A. Author"], 2026)
    assert sorted(one.name for one in moved.rglob("*") if one.is_file()) == [
        "SHA256SUMS",
        "bundle.zip",
        "entry.yaml",
        "toy.py",
    ]
    assert verify_bundle(moved / "bundle.zip", seed=1, attacks=False, trust=True).conclusion is Conclusion.VERIFIED


def test_local_modules_that_the_code_imports_come_with_it(tmp_path: Path) -> None:
    path = toy_bundle(tmp_path / "author")
    toy = tmp_path / "author" / "toy.py"
    (tmp_path / "author" / "helper_of_toy.py").write_text("VALUE = 1\n", encoding="utf-8")
    toy.write_text(f"import helper_of_toy\n{toy.read_text(encoding='utf-8')}", encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"toy\.py differs"):
        write_submission(path, tmp_path / "submissions", {"title": "t", "authors": ["a"]})
    (tmp_path / "author" / "store.sqlite").unlink()
    path.unlink()
    run_board(load_board(tmp_path / "author" / "board.yaml"), tmp_path / "author" / "store.sqlite", workers=1)
    path.write_bytes(make_bundle(tmp_path / "author" / "store.sqlite", "toy", "linear"))
    found = write_submission(path, tmp_path / "submissions", {"title": "t", "authors": ["a"]})
    assert (found.folder / "code" / "helper_of_toy.py").read_text(encoding="utf-8") == "VALUE = 1\n"


def add(folder: Path, name: str, text: str = "x") -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")


def add_line(file: Path) -> None:
    file.write_text(f"{file.read_text(encoding='utf-8')}{'0' * 64}  more.py\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda folder: add(folder, "more.txt"), "remove this file"),
        (lambda folder: add(folder, "code/more.so"), "remove this file"),
        (lambda folder: add(folder, "code/more.py"), "expected the hash of every file"),
        (lambda folder: add(folder, "code/toy.py"), "expected the hash of every file, but this differs: code/toy.py"),
        (lambda folder: add(folder, "SHA256SUMS", ""), "expected the hash of every file"),
        (lambda folder: add_line(folder / "SHA256SUMS"), "this differs: the number or the order of the lines"),
        (lambda folder: (folder / "entry.yaml").unlink(), "expected entry.yaml"),
        (lambda folder: (folder / "code" / "link.py").symlink_to("/etc/passwd"), "it is a link"),
        (lambda folder: add(folder, "code/large.py", "#" * (2**20 + 1)), "at most 1 MiB"),
    ],
)
def test_added_missing_and_changed_files_are_refused(folder: Path, change: Any, told: str) -> None:
    change(folder)
    with pytest.raises(PurebenchError, match=told):
        check_submission(folder)


def test_another_name_of_row_or_board_is_refused(folder: Path) -> None:
    other = folder.with_name("other")
    folder.rename(other)
    with pytest.raises(PurebenchError, match="expected a folder toy/linear"):
        check_submission(other)


def test_an_earlier_submission_is_not_overwritten(folder: Path, bundle: Path) -> None:
    with pytest.raises(PurebenchError, match="expected no earlier submission"):
        write_submission(bundle, folder.parents[1], {"title": "t", "authors": ["a"]})


@pytest.mark.parametrize(
    "change",
    [
        {"title": "a\nb"},
        {"title": ""},
        {"title": "x" * 301},
        {"title": "\x1b[31mred"},
        {"title": "\u202egnp.exe"},
        {"authors": []},
        {"authors": ["a\x00"]},
        {"authors": "A. Author"},
        {"paper": "javascript:alert(1)"},
        {"code": 'https://example.org/"><script>'},
        {"year": 26},
        {"more": 1},
        {"bundle": "sha256:0"},
    ],
)
def test_invalid_descriptions_are_refused(change: dict[str, Any]) -> None:
    plain = {"schema": 1, "board": "b", "row": "r", "bundle": f"sha256:{'0' * 64}", "title": "t", "authors": ["a"]}
    assert entry_of(plain).title == "t"
    with pytest.raises(PurebenchError):
        entry_of(plain | change)


def test_hostile_text_is_inert_in_terminal_markdown_and_csv(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check_submission(folder)
    assert read_entry(folder / "entry.yaml").note == HOSTILE
    (line,) = [one for one in summary_markdown(found).splitlines() if one.startswith("| note")]
    assert line == f"| note | `{HOSTILE.replace('`', chr(39)).replace('|', '¦')}` |"
    make_console(width=400).print(summary(found))
    assert HOSTILE in capsys.readouterr().out  # no markup of rich, no control characters
    text = io.StringIO()
    csv.writer(text).writerow([cell(found.entry.note), cell("=1+1")])
    assert next(csv.reader(io.StringIO(text.getvalue()))) == [HOSTILE, "'=1+1"]
