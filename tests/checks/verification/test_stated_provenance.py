"""Tests that stated provenance, cost and warnings are compared with those of the rebuilt and repeated evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from forged_bundles import toy_bundle
from toy_verification import STRONG, attacks, changed, verified

from purebench.checks.verification.report import notes
from purebench.core.errors import PurebenchError
from purebench.results.files.verdicts import Badge
from purebench.statistics.reproduction import Conclusion


def told(remarks: tuple[str, ...]) -> list[str]:
    """Returns the remarks but the one that the toy board does not come with purebench."""
    return [one for one in remarks if not one.startswith("no board named toy")]


def test_an_honest_bundle_has_no_differences_and_its_python_files_may_lie_elsewhere(tmp_path: Path) -> None:
    made = toy_bundle(tmp_path / "author", attacks=attacks(STRONG))
    there = tmp_path / "verifier"
    there.mkdir()
    for name in ("linear.zip", "toy.py"):
        shutil.move(made.parent / name, there / name)
    for seed in (1, 2):
        found = verified(there / "linear.zip", seed)
        assert (found.badge, told(found.remarks)) == (Badge.VERIFIED, [])
    assert any(note.startswith("not covered: what the result says about its commit, device") for note in notes(found))


def test_other_hashes_of_the_code_are_told(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        code = parts["result"]["provenance"]["code"]
        code["defense"] = code["shared"] = code["attacks"]["pgd"] = "0" * 16

    (one,) = told(verified(changed(strong, other), attacks=False).remarks)
    assert one == "the code that was run is not that of the result: defense, classifier and data set, pgd"


def test_other_keys_of_jobs_are_told(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["manifest"]["keys"]["pgd"][1] = "0" * len(parts["manifest"]["keys"]["pgd"][1])

    (one,) = told(verified(changed(strong, other), attacks=False).remarks)
    assert one == "the keys of these jobs are not those of this evaluation: pgd"


def test_other_versions_commits_and_devices_are_told(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        stated = parts["result"]["provenance"]
        stated["device"] = "NVIDIA H200"
        stated["versions"]["purebench"] = "99.0"
        del stated["versions"]["numpy"]

    (one,) = told(verified(changed(strong, other), attacks=False).remarks)
    assert one.startswith("the result states other conditions than those of this verification: device NVIDIA H200 (her")
    assert "purebench 99.0 (here " in one
    assert "numpy none (here " in one

    def long(parts: dict[str, Any]) -> None:
        parts["result"]["provenance"]["versions"] = {f"package {i}": "1.0" for i in range(10_000)}

    found = verified(changed(strong, long), attacks=False)
    assert max(map(len, found.verdict().remarks)) < 2_000


def test_another_commit_is_told_where_the_verifier_knows_its_own(strong: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from purebench.checks.verification import stated_provenance

    def other(parts: dict[str, Any]) -> None:
        parts["result"]["provenance"]["commit"] = "official release"

    path = changed(strong, other)
    monkeypatch.setattr(stated_provenance, "commit", lambda: "a" * 40)
    (one,) = told(verified(path, attacks=False).remarks)
    assert f"commit official release (here {'a' * 40})" in one
    monkeypatch.setattr(stated_provenance, "commit", lambda: "")
    assert told(verified(path, attacks=False).remarks) == []


def test_another_number_of_parameters_is_never_verified(strong: Path) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["result"]["parameters"] += 1

    found = verified(changed(strong, other), attacks=False)
    assert found.conclusion is Conclusion.UNDECIDED
    assert "the result claims 1 parameters, but the rebuilt defense has 0" in found.remarks


@pytest.mark.parametrize("factor", [0, 3])
def test_a_cost_that_the_repeated_attacks_do_not_have_is_told(strong: Path, factor: int) -> None:
    def other(parts: dict[str, Any]) -> None:
        for attack in parts["result"]["attacks"]:
            attack["forwards"] *= factor
            attack["backwards"] *= factor

    (one,) = told(verified(changed(strong, other)).remarks)
    assert one.startswith("the result states ")
    assert " passes per image under the common attacks, but they cost " in one


def test_warnings_that_were_removed_are_told(tmp_path: Path) -> None:
    path = toy_bundle(tmp_path, "shattered", attacks=attacks(STRONG))
    assert told(verified(path).remarks) == []

    def silent(parts: dict[str, Any]) -> None:
        for attack in parts["result"]["attacks"]:
            attack["warnings"] = []

    (one,) = told(verified(changed(path, silent)).remarks)
    assert one == "repeated attacks gave warnings that the result lacks: zero-gradient (pgd)"


@pytest.mark.parametrize("part", ["versions", "code"])
@pytest.mark.parametrize("value", ["1.0", {"torch": 2}, ["2.6"]])
def test_provenance_of_another_form_is_refused(strong: Path, part: str, value: Any) -> None:
    def other(parts: dict[str, Any]) -> None:
        parts["result"]["provenance"][part] = value

    with pytest.raises(PurebenchError, match=rf"provenance\.{part}: expected a text for each name, but got "):
        changed(strong, other)
