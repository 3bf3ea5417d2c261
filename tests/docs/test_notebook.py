"""Tests that the notebook in examples/ runs and that its outputs have the form of the committed ones."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from blocks import ROOT  # isort: skip

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
LARGEST = 300_000
"""Largest size in bytes, with the committed outputs."""


def shown(notebook: nbformat.NotebookNode, kind: str) -> list[str]:
    """Returns all outputs of a MIME type, in the order of the cells."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def numbers(notebook: nbformat.NotebookNode) -> list[str]:
    """Returns the accuracies in all tables of the notebook."""
    return re.findall(r"[\d.]+ % \[[\d., ]+\]", "".join(shown(notebook, "text/html")))


def test_the_notebook_is_committed_with_its_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(shown(notebook, "image/png")) == 1
    assert len(numbers(notebook)) > 20
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]


def test_the_notebook_runs_with_outputs_of_the_committed_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accuracies may differ with the versions of libraries, so only the kinds of outputs are compared."""
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
