"""Tests that the tables of docs/findings.md are those of the committed results."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def findings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("findings", ROOT / "tools" / "findings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_committed_results(findings: ModuleType) -> None:
    page = findings.PAGE.read_text(encoding="utf-8")
    assert len(findings.MARK.findall(page)) >= 4
    assert findings.written(page) == page


def test_a_changed_number_is_found(findings: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = findings.PAGE.read_text(encoding="utf-8")
    changed = tmp_path / "findings.md"
    changed.write_text(page.replace("| `diffpure-ddpm` | **", "| `diffpure-ddpm` | **9", 1), encoding="utf-8")
    monkeypatch.setattr(findings, "PAGE", changed)
    assert findings.main(["--check"]) == 1
    assert findings.main([]) == 0
    assert findings.main(["--check"]) == 0
    assert changed.read_text(encoding="utf-8") == page


def test_families_are_those_of_registered_names(findings: ModuleType) -> None:
    found = {row.name: findings.family(row) for row in findings.report_of("fashion-families").rows}
    expected = {"nvae-cosine": "MLVGM", "nd-vae-released": "VAE", "trades": "adversarial training", "gdmp": "diffusion"}
    assert {name: found[name] for name in expected} == expected
    assert found["none"] == found["trades-vae"] == ""
