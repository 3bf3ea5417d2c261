"""The notebook of examples/ runs, and what it shows is what is committed in it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from blocks import ROOT  # isort: skip

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
LARGEST = 300_000
"""Bytes: its outputs are committed."""


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """All outputs of a MIME type, as they stand in the cells."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def numbers(notebook: nbformat.NotebookNode) -> list[str]:
    """The accuracies of all its tables."""
    return re.findall(r"[\d.]+ % \[[\d., ]+\]", "".join(shown(notebook, "text/html")))


def test_it_is_committed_with_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(shown(notebook, "image/png")) == 1
    assert len(numbers(notebook)) > 20
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_it_runs_and_finds_tables_of_the_same_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers may differ with the versions of libraries, so only what is shown is compared."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    committed = nbformat.read(NOTEBOOK, 4)
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert len(numbers(notebook)) == len(numbers(committed))
    assert len(shown(notebook, "image/png")) == 1
    for cell, before in zip(notebook.cells, committed.cells, strict=True):
        kinds = [sorted(output.get("data", {})) for output in cell.get("outputs", [])]
        assert kinds == [sorted(output.get("data", {})) for output in before.get("outputs", [])]
