"""Tests that text from data cannot control the terminal and that printing works in every encoding."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from purebench.boards.parse import load_board
from purebench.core.terminal_output import DIRECTIONS, make_console, printable
from purebench.execution.progress.terminal import run_progress
from purebench.leaderboards.terminal import print_board
from purebench.records.outcome import Outcome
from purebench.records.record import Record

from boards import write_board  # isort: skip

UNSAFE = "a\x1b[2J\x1b]0;title\x07b\r\u202ec\u2066d\x9be\u2028f\ng"


@given(st.text(st.sampled_from("ab 1ß≤\n\t\x00\x1b\x7f\x9b\u2028\u2029\u202e\u2066\u200f\ud800")))
def test_printable_text_has_no_control_characters(text: str) -> None:
    printed = printable(text)
    assert not any(ord(one) < 32 or 127 <= ord(one) < 160 or one in DIRECTIONS for one in printed)
    assert "\u2028" not in printed
    if text.isprintable() and not set(text) & DIRECTIONS:
        assert printed == text


def test_escapes_are_readable_and_line_breaks_can_be_kept() -> None:
    assert printable("a\x1bb\nc\u202ed") == "a\\x1bb\\nc\\u202ed"
    assert printable("a\x1bb\nc", lines=True) == "a\\x1bb\nc"
    assert printable("5 ≤ 6 · größer") == "5 ≤ 6 · größer"


def harmless(printed: str) -> bool:
    return not any(one in printed for one in "\x1b\x07\r\x9b\u202e\u2066\u2028")


def test_a_console_escapes_everything_that_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    make_console(width=200).print(Text(UNSAFE), UNSAFE)
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert "\\x1b[2J" in printed


def test_a_console_keeps_its_own_colours() -> None:
    console = make_console()
    console.file, console._force_terminal, console._color_system = io.StringIO(), True, None
    colourful = Console(file=io.StringIO(), force_terminal=True, color_system="standard")
    colourful.push_render_hook(console._render_hooks[0])
    colourful.print(Text("red\x1b[2J", style="red"))
    printed = colourful.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m" in printed
    assert "\\x1b[2J" in printed


def test_an_unsafe_title_is_escaped_in_the_table_of_a_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = load_board(write_board(tmp_path, title=UNSAFE))
    print_board(board, [])
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert "\\ng" in printed  # a title cannot add lines


def errored(block: int, reason: str) -> Record:
    return Record("k", "b", "row", "pgd", block, [0], [0], [Outcome.ERRORED], [""], [None], reasons=[reason])


def test_each_reason_is_printed_once_with_the_option_to_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress() as tell:
        tell(0, 3, None)
        for block, reason in enumerate(("it broke\x1b[2J", "it broke\x1b[2J", "another")):
            tell(block + 1, 3, errored(block, reason))
    printed = capsys.readouterr().err
    assert printed.count("it broke") == 1
    assert "another" in printed
    assert "3 jobs ended in an error; --retry-errors runs them again." in printed
    assert harmless(printed)


SCRIPT = (
    "from purebench.core.terminal_output import open_streams; open_streams(); print('├─●─┤ ≤ 1 ß'); print('x' * 100000)"
)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_can_be_printed_in_any_encoding(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    first = done.stdout.decode(encoding).splitlines()[0]
    assert first == {"ascii": "|-*-| < 1 \\xdf", "latin-1": "|-*-| < 1 ß", "utf-8": "├─●─┤ ≤ 1 ß"}[encoding]


def test_a_closed_pipe_gives_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
