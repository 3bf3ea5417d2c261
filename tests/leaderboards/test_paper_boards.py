"""Tests the boards of the paper's three tasks: single purifications, and the voted models of its release."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.files.needed_files import needed_files
from purebench.boards.parse import load_board
from purebench.core.errors import MissingFiles
from purebench.core.registry import Spec, create
from purebench.defenses.mlvgm.presets import PREPARED, SCHEDULES

TASKS = {"celeba-gender": "gender", "celeba-ids": "ids", "cars-types": "cars"}
STOPS = {"celeba-gender": 32, "celeba-ids": 16, "cars-types": 16}
"""Updates of the mean loss after which C&W of the release may stop."""
CONFIGURATIONS = {
    schedule if how == "none" else f"{schedule}-{how}": schedule for schedule in SCHEDULES for how in PREPARED
}


@pytest.fixture(params=TASKS)
def boards(request: pytest.FixtureRequest) -> tuple[str, Board, Board]:
    """A task, its board of single purifications, and that of the released models."""
    name = request.param
    return TASKS[name], load_board(bundled()[name]), load_board(bundled()[f"{name}-released"])


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("PUREBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "models"


def test_released_rows_are_the_mean_logits_of_32_unclamped_purifications(boards: tuple[str, Board, Board]) -> None:
    task, _, released = boards
    rows = {row.name: row.use for row in released.defenses}
    assert set(rows) == {"none", "trades", "blur", "noise", "a-vae", "nd-vae", *CONFIGURATIONS}
    for name in (*CONFIGURATIONS, "noise", "a-vae", "nd-vae"):
        assert rows[name].name == "vote"
        assert {key: rows[name].params[key] for key in ("draws", "how")} == {"draws": 32, "how": "logits"}
    for name in CONFIGURATIONS:
        assert Spec.parse(rows[name].params["defense"]) == Spec(f"mlvgm/{task}-{name}", {"clamp": False})
    assert Spec.parse(rows["a-vae"].params["defense"]) == Spec(f"a-vae-released/{task}", {"clamp": False})
    assert rows["trades"] == Spec(f"trades-released/{task}")


def test_both_boards_have_the_same_images_threat_and_attacks_but_for_the_eot_samples(
    boards: tuple[str, Board, Board],
) -> None:
    _, single, released = boards
    for part in ("dataset", "classifier", "threat", "seed"):
        assert getattr(single, part) == getattr(released, part)
    assert [one.name for one in single.attacks] == [one.name for one in released.attacks]
    for mine, theirs in zip(single.attacks, released.attacks, strict=True):
        assert (mine.use, mine.gradient, mine.source) == (theirs.use, theirs.gradient, theirs.source)
        assert theirs.eot == 1, "an answer of a vote averages 32 purifications already"
        assert mine.eot in (1, 32)
    assert next(one.eot for one in single.attacks if one.name == "apgd-exact") == 32


def test_single_rows_include_trades_and_all_configurations(boards: tuple[str, Board, Board]) -> None:
    task, single, _ = boards
    rows = {row.name: row.use for row in single.defenses}
    assert rows["trades"] == Spec(f"trades-released/{task}")
    assert all(rows[name] == Spec(f"mlvgm/{task}-{name}") for name in CONFIGURATIONS)


def test_every_row_with_a_model_names_its_missing_file(boards: tuple[str, Board, Board], models: Path) -> None:
    for board in boards[1:]:
        missing = {part for one in needed_files(board) if one.found is None for part in one.parts}
        free = {"none", "blur", "noise"}
        assert {row.name for row in board.defenses} - missing == free
        for row in board.defenses:
            if row.name not in free:
                with pytest.raises(MissingFiles, match=r"huggingface|drive"):
                    create("defenses", row.use, classifier=nn.Identity())


@pytest.mark.parametrize("name", [name for task in TASKS for name in (task, f"{task}-released")])
def test_the_file_of_the_board_says_what_differs_from_the_release(name: str) -> None:
    text = bundled()[name].read_text(encoding="utf-8")
    comments = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    assert max(map(len, text.splitlines())) <= 120
    for words in (
        "What differs from the release:",
        "32 purifications",
        "clamped",
        "Auto-PGD",
        "FMN",
        "0.99",
        "seed 42",
        "factors of 1.2 after a failure, 0.8 after a new best point and 0.9 after a worse success, within [0.1, 1000]",
        f"its loss exceeds the rolling mean, after more than {STOPS[name.removesuffix('-released')]} updates",
    ):
        assert words in comments, words
