"""Tests of trust: `show` runs no code named in a store; `run` needs --trust for files outside the board's folder."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from purebench.boards.parse import load_board
from purebench.boards.trust import built_in, local_files
from purebench.cli.main import app
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.data import datasets
from purebench.results.files.stored_board import at_hand

from boards import write_board  # isort: skip

EVIL = """
from pathlib import Path
Path(__file__).with_name("RAN").write_text("x", encoding="utf-8")

def data():
    raise RuntimeError

def classifier():
    raise RuntimeError

def honest(x=None):
    from purebench.defenses.transforms.simple import blur
    return blur()
"""


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a small board after a run, and with evil.py."""
    folder = tmp_path_factory.mktemp("ran")
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=3)"}}
    definition = write_board(folder, images=4, attacks=attacks, defenses={"plain": "none"})
    done = call("run", definition, "--store", folder / "s", "--workers", 1)
    assert done.exit_code == 0, done.output
    (folder / "evil.py").write_text(EVIL, encoding="utf-8")
    return folder


@pytest.mark.parametrize("place", ["dataset", "classifier", "defenses", "attacks", "gradient"])
def test_show_runs_no_code_named_in_a_store(ran: Path, tmp_path: Path, place: str) -> None:
    evil = f"{ran}/evil.py"
    with sqlite3.connect(ran / "s") as old, sqlite3.connect(tmp_path / "s") as connection:
        old.backup(connection)
        (text,) = connection.execute("SELECT json FROM plans").fetchone()
        plan = json.loads(text)
        board = plan["board"]
        if place == "dataset":
            board["dataset"]["use"] = f"{evil}:data"
        elif place == "classifier":
            board["classifier"] = f"{evil}:classifier"
        elif place == "defenses":
            board["defenses"]["plain"] = f"{evil}:honest"
        elif place == "attacks":
            board["attacks"]["square"]["use"] = f"{evil}:honest"
        else:
            board["attacks"]["square"]["gradient"] = f"{evil}:honest"
        connection.execute("UPDATE plans SET json = ?", (json.dumps(plan),))
    out = tmp_path / "out"
    words = ["small", "--store", tmp_path / "s"]
    for more in (["show", *words, "--page", out / "p.html", "--results", out / "r"], ["show", *words]):
        assert call(*more).exit_code in (0, 1)
    call("export", *words, "-o", out / "e")
    call("compare", "--all", "--board", "small", "--store", tmp_path / "s")
    call("show", "--results", out / "r")
    assert not (ran / "RAN").exists()
    if place == "dataset":  # the page is written, without original images
        assert "shirt" not in (out / "p.html").read_text(encoding="utf-8")
        assert (out / "p.html").is_file()


def test_show_downloads_nothing(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = load_board(ran / "board.yaml")
    asked: list[Any] = []

    def cifar10(*, split: str = "test", download: bool = True) -> None:
        asked.append(download)
        raise PurebenchError("not here")

    monkeypatch.setattr(datasets, "cifar10", cifar10)
    cifar = replace(board, dataset=replace(board.dataset, use=Spec("cifar10", {"download": True})))
    assert at_hand(cifar) is None
    assert asked == [False]
    assert at_hand(board) is not None


def test_built_in_names_are_entry_points_of_this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert built_in("datasets", Spec("fashion-mnist"))
    assert not built_in("datasets", Spec("evil.py:data"))
    assert not built_in("datasets", Spec("unknown"))
    monkeypatch.setitem(registry.LOCAL["datasets"], "mine", lambda: None)
    assert not built_in("datasets", Spec("mine"))


def test_local_files_finds_all_files_of_a_board(tmp_path: Path) -> None:
    definition = write_board(
        tmp_path,
        classifier="a.py:net",
        attacks={"clean": {"use": "clean"}, "x": {"use": "b.py:attack(steps=2)", "gradient": "exact"}},
        defenses={
            "one": "c.py:purifier(size=2)",
            "two": {"before": {"defense": "d.py:inner"}},
            "three": {"vote": {"defense": {"e.py:inner": {"t": 1}}}},
            "four": "none",
        },
    )
    found = [str(path) for path in local_files(load_board(definition))]
    assert found == ["a.py", "b.py", "c.py", "d.py", "e.py"]


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A board with a row from a file outside the folder of the board."""
    (tmp_path / "evil.py").write_text(EVIL, encoding="utf-8")
    attacks = {"clean": {"use": "clean"}}
    return write_board(tmp_path / "b", images=4, attacks=attacks, defenses={"x": f"{tmp_path}/evil.py:honest"})


def test_run_rejects_files_outside_the_folder_of_the_board_without_trust(foreign: Path, tmp_path: Path) -> None:
    refused = call("run", foreign, "--store", tmp_path / "s", "--workers", 1)
    assert refused.exit_code != 0
    assert "--trust" in str(refused.exception)
    assert "evil.py" in str(refused.exception)
    assert not (tmp_path / "RAN").exists()
    assert not (tmp_path / "s").exists()
    trusted = call("run", foreign, "--store", tmp_path / "s", "--workers", 1, "--trust")
    assert trusted.exit_code == 0, trusted.output
    assert (tmp_path / "RAN").exists()


@pytest.mark.parametrize(
    "words", [("plan",), ("check", "none", "--board"), ("tune", "none", "--board"), ("inspect", "none", "--board")]
)
def test_every_command_that_runs_a_board_requires_trust(words: tuple[str, ...], foreign: Path, tmp_path: Path) -> None:
    refused = call(*words, foreign)
    assert "--trust" in str(refused.exception)
    assert not (tmp_path / "RAN").exists()


def test_links_and_parent_paths_out_of_the_folder_are_detected(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = yaml.safe_load(foreign.read_text(encoding="utf-8"))
    (foreign.parent / "link.py").symlink_to(tmp_path / "evil.py")
    monkeypatch.chdir(tmp_path)
    for path in ("b/../evil.py", "b/link.py"):
        board["defenses"] = {"x": f"{path}:honest"}
        foreign.write_text(yaml.safe_dump(board), encoding="utf-8")
        assert "--trust" in str(call("run", foreign, "--store", tmp_path / "s").exception)
    assert not (tmp_path / "RAN").exists()


def test_files_named_on_the_command_line_need_no_trust(foreign: Path, tmp_path: Path) -> None:
    board = yaml.safe_load(foreign.read_text(encoding="utf-8"))
    foreign.write_text(yaml.safe_dump(board | {"defenses": {"plain": "none"}}), encoding="utf-8")
    words = ["run", foreign, "-d", f"{tmp_path}/evil.py:honest", "--store", tmp_path / "s", "--workers", 1]
    assert call(*words).exit_code == 0
