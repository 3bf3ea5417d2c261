"""Tests that names that are invalid as file names are rejected before a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from purebench.boards.board import DefenseChoice
from purebench.boards.parse import load_board
from purebench.boards.selection import label, with_rows
from purebench.core.errors import PurebenchError
from purebench.core.files.names import LONGEST, check_file_name, check_file_names
from purebench.core.registry import Spec

from boards import write_board  # isort: skip

INVALID = [
    "CON",
    "con.json",
    "nul",
    "LPT1",
    "com9.x",
    "trailing.",
    "timings",
    "Ranks",
    "a/b",
    "a\\b",
    "..",
    "",
    "x" * 101,
]


@pytest.mark.parametrize("name", INVALID)
def test_invalid_file_names_are_rejected(name: str) -> None:
    with pytest.raises(PurebenchError, match="rename it"):
        check_file_name(name, "defenses")


@pytest.mark.parametrize("name", ["console", "a.b", "vae+noise", "com10", "x" * LONGEST, "timings2", "small@4-255"])
def test_valid_file_names_are_accepted(name: str) -> None:
    check_file_name(name, "defenses")


def test_names_that_differ_only_in_case_are_rejected() -> None:
    with pytest.raises(PurebenchError, match="'vae' and 'VAE'"):
        check_file_names(["vae", "noise", "VAE"], "defenses")


@pytest.mark.parametrize("parts", [{"name": "con"}, {"defenses": {"timings": "none"}}, {"defenses": {"x.": "none"}}])
def test_a_board_with_an_invalid_name_is_rejected(tmp_path: Path, parts: dict[str, object]) -> None:
    with pytest.raises(PurebenchError, match="rename it"):
        load_board(write_board(tmp_path, **parts))


def test_rows_from_the_command_line_are_checked_and_long_specs_shortened(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path))
    with pytest.raises(PurebenchError, match="device"):
        with_rows(board, [DefenseChoice("aux.py-x", Spec("none"))])
    long, other = (f"gaussian-blur(sigma={number:.90f})" for number in (1 / 3, 1 / 3 + 1e-12))
    assert len(label(long)) == LONGEST
    assert label(long) != label(other)
    check_file_name(label(long), "defense")
