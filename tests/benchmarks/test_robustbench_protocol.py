"""Tests the benchmark of RobustBench's protocol on images of which the model gets one right."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from purebench.core import third_party


@pytest.fixture
def protocol(script):
    return script("robustbench_protocol")


@pytest.fixture
def copies(protocol, tmp_path: Path) -> Path:
    """An npz file of two JPEG pictures: the label of the first is the model's answer, that of the second is not."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(2):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "JPEG", quality=75)
        files.append(np.frombuffer(buffer.getvalue(), np.uint8))
    path = tmp_path / "copies.npz"
    offsets = np.cumsum([0, *map(len, files)])
    content = {"jpeg": np.concatenate(files), "offsets": offsets, "classes": np.array(list("abcdefghij"))}
    np.savez(path, labels=np.zeros(2, np.int64), **content)
    data = protocol.cifar10(npz=str(path))
    with torch.no_grad():
        found = protocol.standard()(torch.as_tensor(data.floats())).argmax(1).numpy()
    np.savez(path, labels=(found + np.arange(2)) % 10, **content)
    return path


def test_the_protocol_and_the_package_are_compared_image_by_image(protocol, copies, tmp_path, monkeypatch, capsys):
    place = tmp_path / "found.json"
    loader = third_party.robustbench().eval.load_clean_dataset
    words = ["--data", str(copies), "--images", "2", "--radius", "0.5", "--json", str(place)]
    assert protocol.main(words) == 0
    assert "images that only one of both breaks" in capsys.readouterr().out
    found = json.loads(place.read_text(encoding="utf-8"))
    (rows,) = found["tables"].values()
    assert [row["images"] for row in rows] == [2, 2]
    assert rows[0]["clean"] == 0.5
    assert rows[0]["robust"] == rows[0]["verified"] == rows[1]["robust"] == 0
    assert rows[0]["broken"] == rows[1]["broken"] == [0, 1]
    assert third_party.robustbench().eval.load_clean_dataset is loader, "RobustBench's own loader is restored"
    asked = []
    monkeypatch.setattr(protocol, "through_the_package", lambda x, *_: asked.append(len(x)) or [False] * len(x))
    assert protocol.main([*words, "--package-images", "1"]) == 1
    assert asked == [1]
