"""Tests of the commands `bundle` and `verify`: files, exit codes, consent, recorded verdicts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from forged_bundles import forged, toy_bundle

from purebench.cli import main as cli
from purebench.leaderboards.badge_text import badge_text
from purebench.results.files.bundles.bundle import read_bundle
from purebench.results.files.export import load_results
from purebench.results.files.verdicts import Badge, load_badges, load_verdicts


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("toy")
    toy_bundle(made)
    return made


def call(*words: object) -> int:
    """Runs the command line in this process, and returns its exit code."""
    before, sys.argv = sys.argv, ["purebench", *map(str, words)]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def test_a_row_is_bundled_verified_and_recorded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, results, bundle = folder / "store.sqlite", tmp_path / "results", tmp_path / "linear.zip"
    assert call("show", "toy", "--store", store, "--results", results) == 0
    assert "verification: all rows are unverified (purebench verify)" in capsys.readouterr().out
    assert call("bundle", "toy", "linear", "--store", store, "-o", bundle, "--results", results) == 0
    assert "80 of 80 adversarial examples" in capsys.readouterr().out
    assert bundle.read_bytes() == (folder / "linear.zip").read_bytes()
    options = ["--seed", 3, "--record", results, "--report", tmp_path / "report.md", "--trust"]
    assert call("verify", bundle, *options) == 0
    told = capsys.readouterr().out
    assert "verdict: verified" in told
    assert f"purebench verify {bundle} --seed 3 --images 20 --trust" in " ".join(told.split())
    assert "### Verification of `linear` on `toy`: verified" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert call("show", "--results", results) == 0
    assert "verification: linear verified; shattered unverified" in capsys.readouterr().out


def test_a_refuted_bundle_is_recorded_and_not_published(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def inflate(parts: dict[str, Any]) -> None:
        result = parts["result"]
        for of in (result["worst_case"], *result["attacks"]):
            of["outcomes"] = ["robust"] * 80
            of["draws"] = ["1"] * 80

    lie, results = folder / "lie.zip", tmp_path / "results"
    lie.write_bytes(forged((folder / "linear.zip").read_bytes(), inflate))
    options = ["--seed", 3, "--record", results, "--publish", "--no-attacks", "--trust"]
    assert call("verify", lie, *options) == 1
    assert not (results / "linear.json").exists()
    assert [one.badge for one in load_verdicts(results, "linear")] == [Badge.REFUTED]
    assert call("verify", folder / "linear.zip", *options) == 0
    assert len(load_verdicts(results, "linear")) == 2
    capsys.readouterr()
    (badge,) = load_badges(results, load_results(results)).values()
    assert badge_text(badge) == f"{Badge.REPRODUCED} (2 versions submitted, 1 of them refuted)"
    assert call("verify", lie, *options[:4], "--no-attacks", "--trust") == 2  # without --publish a wrong folder is told


def test_json_alone_is_printed_and_the_default_seed_is_random(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = set()
    for _ in range(2):
        assert call("verify", folder / "linear.zip", "--json", "--no-attacks", "--trust") == 0
        found = json.loads(capsys.readouterr().out)
        seeds.add(found["seed"])
    assert len(seeds) == 2
    assert found["badge"] == "examples reproduced, attacks not re-run"
    assert found["result"] == read_bundle(folder / "linear.zip").result_hash


def test_the_exit_code_is_3_if_undecided_and_2_for_invalid_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("verify", folder / "linear.zip", "--images", 2, "--trust") == 3
    assert "verdict: undecided" in capsys.readouterr().out
    assert call("verify", folder / "linear.zip") == 2
    assert "add --trust to run it" in capsys.readouterr().err
    (tmp_path / "other.zip").write_bytes(b"PK")
    assert call("verify", tmp_path / "other.zip") == 2
    assert "expected a bundle" in capsys.readouterr().err
    assert call("verify", folder / "linear.zip", "--seed", -1, "--trust") == 2
    assert call("bundle", "toy", "linaer", "--store", folder / "store.sqlite") == 2
    assert "did you mean 'linear'" in capsys.readouterr().err


def test_a_bundle_is_not_made_of_a_result_that_is_not_published(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "linear.json").write_text("{}", encoding="utf-8")
    words = ["--store", folder / "store.sqlite", "-o", tmp_path / "x.zip", "--results", tmp_path]
    assert call("bundle", "toy", "linear", *words) == 2
    assert "expected the result of the bundle" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()
