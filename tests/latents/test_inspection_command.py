"""Tests the command `purebench inspect` on the bundled hierarchical VAE, and the layout of its picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from purebench.cli.commands.models.inspection_tables import LEGEND
from purebench.cli.main import app
from purebench.core.errors import PurebenchError


@pytest.mark.parametrize("width", [80, 100])
def test_the_command_writes_table_picture_and_json(tmp_path: Path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    words = ["inspect", "mlvgm-cosine", "--images", "4", "--draws", "1", "--out", str(tmp_path / "new" / "out")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines[:-2])) <= width
    assert "…" not in done.output
    assert all(head in done.output for head in LEGEND)
    data = json.loads((tmp_path / "new" / "out" / "mlvgm-cosine.json").read_text(encoding="utf-8"))
    assert data["defense"] == {"name": "mlvgm-hvae", "params": {"schedule": "cosine", "attenuation": 0.7}}
    assert [one["latent"] for one in data["latents"]] == list(range(8))
    assert data["latents"][7]["kept"] == pytest.approx(0.3)
    assert {data["clean"]["n"], *(one["difference"]["n"] for one in data["latents"])} == {4}
    assert data["latents"][0]["from_here"] == data["generated"]
    with Image.open(tmp_path / "new" / "out" / "mlvgm-cosine.png") as sheet:
        assert sheet.width < 1900


def test_the_command_rejects_defenses_without_latents_and_invalid_folders(tmp_path: Path):
    told = CliRunner().invoke(app, ["inspect", "vae", "--images", "4", "--out", str(tmp_path)])
    assert isinstance(told.exception, PurebenchError)
    assert "registered defenses that do: mlvgm" in str(told.exception)
    file = tmp_path / "file"
    file.touch()
    told = CliRunner().invoke(app, ["inspect", "mlvgm-hvae", "--images", "4", "--out", str(file)])
    assert "expected a folder" in str(told.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
