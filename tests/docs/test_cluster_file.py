"""Tests that the cluster file of docs/clusters.md is valid for Ray's cluster launcher."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from blocks import ROOT, blocks  # isort: skip

ray = pytest.importorskip("ray")


def test_the_cluster_file_matches_the_schema_of_ray() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    (file,) = [block for block in blocks(ROOT / "docs" / "clusters.md") if block.language == "yaml"]
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    found = yaml.safe_load(file.text)
    jsonschema.validate(found, schema)
    assert f"--port={6379}" in found["head_start_ray_commands"][-1]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "provider": {"head": 3}}, schema)
