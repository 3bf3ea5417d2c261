"""Tests that the schema of declarations fits the class, and that this package's own file, read without it, is valid."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import purebench.defenses
from purebench.cli.declaration import Declaration, declared, read
from purebench.cli.declaration_schema import DeclarationSchema

FOLDER = Path(purebench.defenses.__file__).parent


def test_schema_and_class_have_the_same_fields_and_defaults() -> None:
    expected = {one.name: one.default for one in fields(Declaration)}
    model = DeclarationSchema.model_fields
    assert model.keys() == expected.keys()
    for name, one in model.items():
        assert one.is_required() == (name not in ("passes", "ms"))
        assert one.is_required() or one.default == expected[name]


def test_own_file_passes_validation_with_the_same_values() -> None:
    times = json.loads((FOLDER / "costs.json").read_text(encoding="utf-8"))["ms"]
    checked = read((FOLDER / "catalogue.yaml").read_text(encoding="utf-8"), times)
    found, faults = declared()
    assert faults == []
    assert {name: found[name] for name in checked} == checked


def test_list_does_not_import_pydantic() -> None:
    code = (
        "import sys; from purebench.cli.listing import print_names; print_names(None); "
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
