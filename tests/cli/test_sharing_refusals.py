"""Tests what `bundle` and `verify` refuse or report before they run anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from forged_bundles import toy_bundle
from toy_board import write_toy
from typer.testing import CliRunner

from purebench.checks.verification import settings
from purebench.cli.main import app
from purebench.core.errors import PurebenchError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return toy_bundle(tmp_path)


def refused(*words: object) -> str:
    """The message of the error that a command ends with."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, PurebenchError)
    return str(done.exception)


def test_wrong_folders_are_refused_before_the_queries(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purebench.checks.verification.verification.claim_tests", None)  # the queries
    asked = ("verify", bundle, "--trust", "--no-attacks")
    assert "expected the result of the row" in refused(*asked, "--record", tmp_path / "nosuch")
    assert "--code: expected the folder" in refused(*asked, "--code", tmp_path / "nosuch")
    for publish in ([], ["--publish"]):
        assert "is a file" in refused(*asked, "--record", bundle, *publish)


def test_the_bundle_in_the_folder_of_a_submission_is_named(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "submission"
    folder.mkdir()
    assert refused("verify", folder).endswith("special file.")
    shutil.copyfile(bundle, folder / "bundle.zip")
    assert refused("verify", folder).endswith(f"name {folder / 'bundle.zip'}.")


def test_a_bundle_with_other_settings_than_the_bundled_board_is_reported(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = tmp_path / "board.yaml"
    monkeypatch.setattr(settings, "bundled", lambda: {"toy": board})
    monkeypatch.setattr(settings, "find_board", lambda name: board)

    def told() -> str:
        words = ["bundle", "toy", "linear", "--store", tmp_path / "store.sqlite", "-o", tmp_path / "other.zip"]
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    assert "settings differ" not in told()
    write_toy(tmp_path, threat={"norm": "linf", "radius": 0.1})
    assert "the settings differ from those of the bundled board toy: threat" in told()
