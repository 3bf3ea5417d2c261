"""Tests of the container of a bundle: a zip file of one layout; everything else is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purebench.core.errors import PurebenchError
from purebench.results.files.bundles import container
from purebench.results.files.bundles.bundle import bundle_of, read_bundle
from purebench.results.files.bundles.container import EXAMPLES, MANIFEST, MEMBERS, RESULT, SUMS, pack, unpacked


def rezipped(members: dict[str, bytes], **options: Any) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", **options) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return made.getvalue()


def with_sums(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_a_bomb_is_refused_before_anything_is_decompressed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    members = with_sums(data) | {EXAMPLES: bytes(50 * 2**20)}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    assert len(made.getvalue()) < 2**20
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("a member was read"))
    with pytest.raises(PurebenchError, match="not compressed"):
        unpacked(made.getvalue(), "bomb.zip")


@pytest.mark.parametrize("name", ["../evil.py", "/etc/passwd", "extra.txt", "a/../../b", "RESULT.json"])
def test_other_members_and_paths_are_refused(data: bytes, name: str, tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="expected the members"):
        unpacked(rezipped(with_sums(data) | {name: b"x"}), "row.zip")
    assert not list(tmp_path.iterdir())


def test_missing_and_double_members_are_refused(data: bytes) -> None:
    for name in (*MEMBERS, SUMS):
        fewer = {key: value for key, value in with_sums(data).items() if key != name}
        with pytest.raises(PurebenchError, match="expected the members"):
            unpacked(rezipped(fewer), "row.zip")
    made = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(made, "a") as file:
        file.writestr(RESULT, b"{}")
    with pytest.raises(PurebenchError, match="expected the members"):
        unpacked(made.getvalue(), "row.zip")


def test_hidden_bytes_comments_and_other_layouts_are_refused(data: bytes) -> None:
    commented = io.BytesIO(data)
    with zipfile.ZipFile(commented, "a") as file:
        file.comment = b"hello"
    others = [
        b"#!/bin/sh\n" + data,
        data + b"x",
        commented.getvalue(),
        rezipped(with_sums(data)),
        data[:-1],
        b"",
        data[:40],
    ]
    for other in others:
        with pytest.raises(PurebenchError, match="expected a"):
            unpacked(other, "row.zip")
    assert pack(unpacked(data, "row.zip")) == data


def test_large_files_folders_and_missing_files_are_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other, told in ((tmp_path, "folder"), (tmp_path / "none.zip", "cannot be read")):
        with pytest.raises(PurebenchError, match=told):
            read_bundle(other)
    monkeypatch.setattr(container, "MOST_BYTES", 1000)
    with pytest.raises(PurebenchError, match="the file is larger"):
        read_bundle(path)


def tampered(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns the bundle with one random change, whose hashes were not made again."""
    kind = rng.integers(5)
    if kind == 0:  # one bit of the file
        place = int(rng.integers(len(data)))
        return data[:place] + bytes([data[place] ^ (1 << int(rng.integers(8)))]) + data[place + 1 :]
    if kind == 1:  # a part is cut out or repeated
        start, end = sorted(rng.integers(0, len(data), 2).tolist())
        return data[:start] + data[end + 1 :] if rng.random() < 0.5 else data[: end + 1] + data[start:]
    members = with_sums(data)
    name = str(rng.choice([MANIFEST, RESULT, "board.json", EXAMPLES]))
    content = bytearray(members[name])
    if kind == 2:  # digits of a member, such as outcomes and hashes
        digits = [place for place, one in enumerate(content) if chr(one).isdigit()]
        place = digits[int(rng.integers(len(digits)))]
        content[place] = ord("0") + (content[place] - ord("0") + 1 + int(rng.integers(8))) % 10
    elif kind == 3:  # a word
        content = content.replace(b"robust", b"errored", 1) if b"robust" in content else content + b" "
    else:  # pixels
        name, content = EXAMPLES, bytearray(members[EXAMPLES])
        place = 128 + 4 * int(rng.integers((len(content) - 128) // 4))
        content[place : place + 4] = np.float32(rng.random()).tobytes()
    members[name] = bytes(content)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as file:
        for one, value in members.items():
            entry = zipfile.ZipInfo(one, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            file.writestr(entry, value)
    return made.getvalue()


@pytest.mark.parametrize("name", MEMBERS)
def test_the_error_names_the_member_that_was_changed(data: bytes, name: str) -> None:
    members = with_sums(data)
    changed = rezipped(members | {name: members[name] + b" "})
    with pytest.raises(PurebenchError, match=f"expected the hash of {name}, but got .*; its content was changed"):
        unpacked(changed, "row.zip")


def test_a_thousand_tampered_bundles_are_refused(data: bytes) -> None:
    rng = np.random.default_rng(0)
    accepted = []
    for number in range(1000):
        changed = tampered(data, rng)
        if changed == data:
            continue
        try:
            bundle_of(changed)
        except PurebenchError:
            continue
        accepted.append(number)
    assert not accepted
