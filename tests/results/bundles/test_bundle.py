"""Tests that bundles have equal bytes, contain what they describe, and are read strictly."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forged_bundles import forged, parts_of, sha256

from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.results.files.bundles import examples
from purebench.results.files.bundles.bundle import bundle_of, read_bundle
from purebench.results.files.bundles.container import RESULT, SUMS, unpacked
from purebench.results.files.bundles.writing import make_bundle
from purebench.results.files.export import export_results, load_result
from purebench.results.files.stored_board import from_store
from purebench.results.merge import merge


def test_equal_records_give_equal_bytes_also_in_another_store(folder: Path, data: bytes, tmp_path: Path) -> None:
    assert make_bundle(folder / "store.sqlite", "toy", "linear") == data
    run_board(load_board(folder / "board.yaml"), tmp_path / "other.sqlite", workers=1)
    assert make_bundle(tmp_path / "other.sqlite", "toy", "linear") == data


def test_a_bundle_contains_the_result_file_and_the_examples_it_is_measured_at(folder: Path, path: Path) -> None:
    found = read_bundle(path)
    board, records = from_store(folder / "store.sqlite", "toy")
    export_results(folder / "results", merge(board, records))
    assert found.result == load_result(folder / "results" / "linear.json").with_seconds({})
    assert found.result_hash == sha256((folder / "results" / "linear.json").read_bytes())
    assert found.manifest.numbers.robust is not None
    assert found.manifest.numbers.robust.value == found.result.robust.value == 0.5
    assert len(found.examples) == len(found.result.images) == 80
    worst = [one for one in records if one.defense == "linear" and one.attack == "worst-case"]
    assert found.manifest.keys["worst-case"] == [one.key for one in sorted(worst, key=lambda one: one.block)]
    assert found.manifest.code_files == {str(folder / "toy.py"): sha256((folder / "toy.py").read_bytes())}


def test_its_hashes_can_be_checked_by_sha256sum(path: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(path).extractall(tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=tmp_path, check=True, capture_output=True)


def test_incomplete_and_unknown_rows_and_objects_in_memory_have_no_bundle(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="the row 'liner' is unknown; did you mean 'linear'"):
        make_bundle(folder / "store.sqlite", "toy", "liner")
    run_board(load_board(folder / "board.yaml"), tmp_path / "s.sqlite", workers=1, budget=1e-9)
    with pytest.raises(PurebenchError, match="expected a complete result, but 40 of 80 images"):
        make_bundle(tmp_path / "s.sqlite", "toy", "linear")


def test_large_examples_are_stored_in_part_and_the_author_cannot_choose_which(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "MOST_PIXEL_BYTES", 30 * 4 * 64)

    def fewer(parts: dict[str, Any]) -> None:
        parts["manifest"]["examples"]["stored"] = rows
        parts["examples"] = parts["examples"][rows]

    every = parts_of(data)
    rows = examples.stored_rows(unpacked(data, "")[RESULT], every["manifest"]["examples"]["hashes"], 4 * 64)
    assert len(rows) == 30
    assert rows != list(range(30))
    found = bundle_of(forged(data, fewer, hashes=False))
    assert [examples.example_hash(one) for one in found.examples] == [
        found.manifest.examples.hashes[row] for row in rows
    ]
    rows = [*rows[1:], next(row for row in range(80) if row not in rows)]
    rows.sort()
    with pytest.raises(PurebenchError, match="the stored images that follow from the hashes"):
        bundle_of(forged(data, fewer, hashes=False))


# ---- contradictions in bundles whose hashes agree


def set_example(value: float) -> Any:
    def edit(parts: dict[str, Any]) -> None:
        parts["examples"][3, 0, 1, 2] = value

    return edit


def without_block(parts: dict[str, Any]) -> None:
    parts["manifest"]["keys"]["apgd"].pop()


def other_row(parts: dict[str, Any]) -> None:
    parts["board"]["defenses"] = {"linear": {"gaussian-noise": {"sigma": 0.1}}}


def two_rows(parts: dict[str, Any]) -> None:
    parts["board"]["defenses"]["second"] = "jpeg"


def other_settings(parts: dict[str, Any]) -> None:
    parts["board"]["threat"]["radius"] = 0.01


def other_order(parts: dict[str, Any]) -> None:
    parts["board"]["attacks"] = dict(reversed(parts["board"]["attacks"].items()))


def other_name(parts: dict[str, Any]) -> None:
    parts["manifest"]["row"] = "other"


def more_hashes(parts: dict[str, Any]) -> None:
    parts["manifest"]["examples"]["hashes"].append("0" * 64)


def unhashed(parts: dict[str, Any]) -> None:
    parts["manifest"]["examples"]["hashes"][5] = None
    parts["manifest"]["examples"]["stored"].remove(5)
    parts["examples"] = np.delete(parts["examples"], 5, axis=0)


def incomplete(parts: dict[str, Any]) -> None:
    result = parts["result"]
    result["complete"] = False
    for of in (result, *result["attacks"], result["worst_case"]):
        for key, value in of.items():
            if isinstance(value, list) and len(value) == 80:
                of[key] = value[:40]
    parts["manifest"]["examples"]["hashes"] = parts["manifest"]["examples"]["hashes"][:40]
    parts["manifest"]["examples"]["stored"] = list(range(40))
    parts["examples"] = parts["examples"][:40]


def larger(parts: dict[str, Any]) -> None:
    parts["manifest"]["examples"]["shape"] = [1, 8, 9]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (set_example(float("nan")), "finite images"),
        (set_example(float("inf")), "finite images"),
        (set_example(1.5), r"images in \[0,1\]"),
        (set_example(-0.01), r"images in \[0,1\]"),
        (without_block, "expected 2 keys for each attack"),
        (other_row, "expected the row linear of the result alone"),
        (two_rows, "expected the row linear of the result alone"),
        (other_settings, "expected the settings of the result"),
        (other_order, "order of the result"),
        (other_name, "the row of the result"),
        (more_hashes, "a hash for every image"),
        (unhashed, "a hash for every image"),
        (incomplete, "a complete result"),
        (larger, r"float32 \[80, 1, 8, 9\]|expected an npy file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_contradictions_are_refused_although_all_hashes_agree(data: bytes, edit: Any, told: str) -> None:
    with pytest.raises(PurebenchError, match=told) as error:
        bundle_of(forged(data, edit), "row.zip")
    assert str(error.value).startswith("row.zip: ")
    assert "make the bundle again" in str(error.value)


@pytest.mark.parametrize("where", ["robust", "clean", "attacks"])
def test_every_printed_number_is_computed_again_from_the_outcomes(data: bytes, where: str) -> None:
    def raise_it(parts: dict[str, Any]) -> None:
        numbers = parts["manifest"]["numbers"]
        one = numbers["attacks"]["apgd"] if where == "attacks" else numbers[where]
        one["value"] = one["high"] = 0.99 if where == "clean" else 0.75

    with pytest.raises(PurebenchError, match=rf"numbers\.{where}.*does not follow from the outcomes"):
        bundle_of(forged(data, raise_it, numbers=False))


def test_an_example_must_have_its_hash(data: bytes) -> None:
    with pytest.raises(PurebenchError, match="expected the example of image 3 with its hash"):
        bundle_of(forged(data, set_example(0.5), hashes=False))
