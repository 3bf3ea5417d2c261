"""Tests that hostile board files are rejected with a message of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from refusing import refused

from purebench.boards.parse import load_board
from purebench.core.files.strict_yaml import load_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "cascade: false",
            "cascade: false\nseed: 1",
            "line 10: expected each key once, but got 'seed' again (first in line 8)",
        ),
        ("  apgd:", "  clean:", "line 13: expected each key once, but got 'clean' again (first in line 12)"),
        (
            "use: fashion-mnist",
            "use: fashion-mnist, use: cifar10",
            "line 4: expected each key once, but got 'use' again",
        ),
        ("images: 8", "images: " + "9" * 5000, "line 4: expected numbers of at most 40 characters, but got 5000"),
        ("images: 8", "images: " + "9" * 30, "line 4: expected whole numbers below 2^63"),
        ("images: 8", "images: 0x" + "f" * 5000, "line 4: expected numbers of at most 40"),
        ("images: 8", "images: 4:8", "dataset.images: expected a whole number, but got '4:8'"),
        ("images: 8", "images: 10000001", "dataset.images: expected a whole number of at most 10000000"),
        ("images: 8, block: 4", "images: 10000000, block: 1", "at most 1,000,000 jobs"),
        (
            "images: 8, block: 4",
            "images: 400000, block: 1",
            "rows), but got 1,200,000",
        ),  # 400,000 blocks × (2 attacks + the worst case)
        ("draws: 4", "draws: 1000000000000", "verify.draws: expected a whole number of at most 10000"),
        ("draws: 4", "draws: 10**12", "verify.draws: expected a whole number, but got '10**12'"),
        (
            "name: hostile",
            "name: 2020-13-45",
            "line 1: expected text or a number, but '2020-13-45' is a date in YAML; put it in quotes",
        ),
        ("name: hostile", "name: " + "a" * 101, "has 101 characters, and at most 100 are allowed"),
        ("seed: 0", "seed: true", "seed: expected a whole number, but got True"),
        ("confidence: 0.95", "confidence: .nan", "line 7: expected finite numbers"),
        ("radius: 8/255", "radius: .inf", "line 6: expected finite numbers"),
        ("radius: 8/255", "radius: 1e999999999", "threat.radius: expected a number or a fraction"),
        ("radius: 8/255", "radius: true", "threat.radius: expected a number or a fraction"),
        ("apgd(steps=3)", "apgd(steps=" + "-" * 1900 + "1)", "attacks.apgd.use: expected key=value arguments"),
        ("apgd(steps=3)", "a" * 900_000, "attacks.apgd.use: expected at most 2,000 characters"),
        ("title: Damaged", "title: " + "x" * 900_000, "title: expected at most 20,000 characters"),
        ("none: none", "timings: none", "'timings' is the name of a file of purebench in a folder of results"),
        ("none: none", "off: none", "line 15: expected text as a key, but got False"),
        ("none: none", "none: !!python/object/apply:os.getcwd []", "line 15: expected plain values, but got the tag"),
        ("name: hostile", "schema: 2\nname: hostile", "but got 2, which a later version of purebench wrote"),
        ("name: hostile", "name: hostile\n---\nname: other", "line 2: expected one document"),
    ],
)
def test_hostile_boards_are_rejected(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = """name: hostile
title: Damaged
about: none
dataset: {use: fashion-mnist, images: 8, block: 4}
classifier: fashion-resnet
threat: {norm: linf, radius: 8/255}
confidence: 0.95
seed: 0
cascade: false
verify: {draws: 4}
attacks:
  clean: {use: clean}
  apgd: {use: apgd(steps=3), gradient: exact}
defenses:
  none: none
"""
    path = tmp_path / "board.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_board(path).name == "hostile"
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    refused(lambda: load_board(path), message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOMB.encode(), "expected at most 20,000 values"),
        (b"a: &a [*a]", "has no anchor"),
        (b"[" * 500_000, "YAML"),
        (b"a: " + b"{a: " * 60 + b"1" + b"}" * 60, "expected at most 50 levels"),
        (b"\n".join(b"k%d: 1" % number for number in range(60_000)), "expected at most 20,000 values"),
        (b"x" * (2**20 + 1), "expected at most 1 MiB"),
        (b"\x00\x01\x02", "YAML"),
        (b"\x80", "expected UTF-8 text"),
        ("name: a".encode("utf-16"), "it is UTF-16"),
        (b"", "board: expected a mapping with"),
    ],
)
def test_files_that_are_not_boards_are_rejected(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "board.yaml"
    path.write_bytes(data)
    refused(lambda: load_board(path), message)


def test_byte_order_marks_anchors_and_merge_keys_are_read(sample: Any) -> None:
    board = load_board(sample.boards)
    sample.boards.write_bytes(b"\xef\xbb\xbf" + sample.boards.read_bytes())
    assert load_board(sample.boards) == board
    text = "a: &a {x: 1, y: [2, 3]}\nb: {<<: *a, x: 4}\nc: *a\nd: {<<: [{x: 5}, *a]}"
    assert load_yaml(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["a: yes\nb: 0x1f\nc: 1_000\nd: 1.5e+3\ne: ~\nf: 'no'\ng: |\n  two\n  lines", "- 1", "x"]
)
def test_plain_values_are_parsed_as_yaml(text: str) -> None:
    assert load_yaml(text) == yaml.safe_load(text)
