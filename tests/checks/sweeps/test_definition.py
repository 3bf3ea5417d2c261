"""Tests the reading of sweep files, and the options that define a sweep."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import pytest
import yaml

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.boards.selection import row
from purebench.checks.sweeps.definition import Sweep, families_of, radii_of, read_sweep, sweep_file
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec

GOOD = {"board": "fashion-quick", "families": {"blur": "gaussian-blur(sigma={0.5, 1})"}}


def written(tmp_path: Path, **keys: object) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(GOOD | keys, sort_keys=False), encoding="utf-8")
    return path


def test_a_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    found = read_sweep(written(tmp_path))
    assert (found.board, found.images, found.largest_clean_loss, found.cascade) == ("fashion-quick", 64, 0.1, False)
    assert [one.label for one in found.families[0].strengths] == ["sigma=0.5", "sigma=1"]
    assert (found.radii, found.folder) == ((), tmp_path)


def test_all_keys_are_read_and_a_board_beside_the_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "board.yaml").write_text("name: x\n", encoding="utf-8")
    keys = {"radii": ["4/255", 0.5], "images": 20, "largest_clean_loss": 0.05, "cascade": True, "board": "board.yaml"}
    found = read_sweep(written(tmp_path, **keys))
    assert found.radii == ("4/255", "0.5")
    assert (found.images, found.largest_clean_loss, found.cascade) == (20, 0.05, True)
    assert found.board == str(tmp_path / "board.yaml")


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"famlies": {}}, "did you mean 'families'"),
        ({"families": {}}, "expected a mapping with at least one name"),
        ({"families": {"blur": "gaussian-blur(sigma=1)"}}, "expected at least two strengths"),
        ({"families": {"a": "blur(sigma={1, 2})", "b": "blur(sigma={2, 3})"}}, "expected each strength once"),
        ({"families": {str(n): f"f(x={{{n}.1, {n}.2}})" for n in range(33)}}, "at most 64 strengths in all families"),
        ({"radii": ["4/255", "8/510"]}, "expected each radius once"),
        ({"radii": ["far"]}, "expected a number above 0 or a fraction"),
        ({"largest_clean_loss": 10.0}, "expected a fraction"),
        ({"images": 0}, "images"),
        ({"schema": 2}, "schema"),
    ],
)
def test_faults_of_a_file_are_told_with_its_path(tmp_path: Path, keys: dict[str, object], told: str) -> None:
    path = written(tmp_path, **keys)
    with pytest.raises(PurebenchError) as caught:
        read_sweep(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_one_strength_is_enough_for_several_radii() -> None:
    assert Sweep(board="b", families=families_of(["trades"]), radii=("4/255",)).radii == ("4/255",)


def test_families_of_a_command_are_named_after_their_defenses() -> None:
    texts = ["blur(sigma={1, 2})", "mine.py:made(t={1, 2})", "blur(sigma={3, 4})"]
    assert [one.name for one in families_of(texts)] == ["blur", "mine.py-made", "blur-2"]
    texts = ["a-2(x={1, 2})", "a(x={1, 2})", "a(x={3, 4})", "a(x={5, 6})", "b-c(x={1, 2})", "b(x={1, 2})"]
    assert [one.name for one in families_of(texts)] == ["a-2", "a", "a-3", "a-4", "b-c", "b"]


def test_radii_of_a_command_may_be_lists() -> None:
    assert radii_of(["{4/255, 8/255}", "0.5"]) == ("4/255", "8/255", "0.5")
    with pytest.raises(PurebenchError, match="radius: expected a number above 0"):
        radii_of(["{4/255, }"])


def test_some_families_of_a_file_are_kept_in_its_order() -> None:
    sweep = Sweep(board="b", families=families_of(["a(x={1, 2})", "b(x={1, 2})", "c(x={1, 2})"]), images=7)
    kept = sweep.only(["c", "a"])
    assert ([one.name for one in kept.families], kept.images) == (["a", "c"], 7)
    with pytest.raises(PurebenchError, match="--family: 'ab' is unknown"):
        sweep.only(["ab"])


def test_a_name_means_the_sweep_of_a_bundled_board_or_a_file_with_families(tmp_path: Path) -> None:
    assert sweep_file("fashion-families") == bundled()["fashion-families"].with_name("sweep.yaml")
    assert sweep_file("fashion-certified") is None
    path = written(tmp_path)
    assert sweep_file(str(path)) == path
    assert sweep_file(str(bundled()["fashion-quick"])) is None


def test_the_bundled_sweep_has_the_rows_of_its_board_among_its_strengths() -> None:
    """Each family of the sweep is that of a row, with at least four strengths, and all its parameters exist."""
    path = sweep_file("fashion-families")
    assert path is not None
    sweep, board = read_sweep(path), load_board(bundled()["fashion-families"])
    assert sweep.images >= 64
    for family in sweep.families:
        assert len(family.strengths) >= 4
        specs = [Spec.parse(one.text) for one in family.strengths]
        takes = signature(registry.factory("defenses", specs[0].name)[0]).parameters
        assert all(set(spec.params) <= set(takes) for spec in specs)
    without = {"gdmp", "ebm-langevin"}  # the row has the defaults of the factory
    rows = {row(board, one.text).name for family in sweep.families for one in family.strengths}
    assert {family.name for family in sweep.families} - without <= rows
