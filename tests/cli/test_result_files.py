"""Tests that `purebench show --results` rejects rows with different images or labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from purebench.boards.bundled import bundled
from purebench.cli.output.result_files import from_results
from purebench.core.errors import PurebenchError


def shifted(result: dict[str, Any]) -> None:
    result["images"] = [image + 10_000 for image in result["images"]]


def relabelled(result: dict[str, Any]) -> None:
    result["labels"] = [(label + 1) % 10 for label in result["labels"]]


@pytest.mark.parametrize(
    ("change", "message"), [(shifted, "together they have"), (relabelled, "expected one label of image")]
)
def test_rows_with_other_images_or_labels_are_rejected(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(bundled()["fashion-certified"].parent / "results", folder)
    board, found = from_results(folder)
    assert len(found[0].images) == board.dataset.images
    result = json.loads((folder / "trades.json").read_text(encoding="utf-8"))
    change(result)
    for attack in result["attacks"]:
        attack["pictures"] = []
    (folder / "trades.json").write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(PurebenchError, match=message):
        from_results(folder)
