"""Tests that an answer which is not the file is told from it: pages, texts, pointers, empty files, sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from purebench.core.files.http_answer import DownloadError

from file_server import DATA, SHA, FileServer, Served, get, left  # isort: skip


PAGE = b"<!DOCTYPE html>\n<html><head><title>Please\n log in</title></head></html>"


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.parametrize("size", [None, len(DATA), len(PAGE)])
def test_a_login_page_is_told_from_the_file(server: FileServer, tmp_path: Path, kind: str, size: int | None) -> None:
    server.files |= {"/a": Served(redirect="/login"), "/login": Served(PAGE, kind=kind)}
    with pytest.raises(DownloadError, match=r"a web page came \(Please log in\).*browser"):
        get(server, tmp_path / "a.pt", size=size)
    assert left(tmp_path) == []


def test_a_page_without_markup_is_told_by_its_content_type(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(b"Please log in.", kind="text/html")
    with pytest.raises(DownloadError, match="a web page came"):
        get(server, tmp_path / "a.pt")


def test_a_git_lfs_pointer_is_told_from_the_file(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(DownloadError, match="a pointer of Git LFS came"):
        get(server, tmp_path / "a.pt")


@pytest.mark.parametrize("length", ["abc", "-5", "5, 5", ""])
def test_a_size_that_is_no_number_is_refused(server: FileServer, tmp_path: Path, length: str) -> None:
    server.files["/a"] = Served(DATA, ranges=False, headers={"Content-Length": length})
    with pytest.raises(DownloadError, match=f"got the size {length}, so that"):
        get(server, tmp_path / "a.pt")


def test_an_empty_file_is_refused(server: FileServer, tmp_path: Path) -> None:
    for chunked in (False, True):
        server.files["/a"] = Served(b"", chunked=chunked)
        with pytest.raises(DownloadError, match="empty"):
            get(server, tmp_path / "a.pt")
        assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (b'{"message":"Not Found"}', "application/json", "a JSON text"),
        (b'{"message":"Not Found"}', "application/octet-stream", "a text"),
        ("Bitte anmelden: ü".encode()[:-1], "text/plain", "a text"),
        (b"\xef\xbb\xbf<!DOCTYPE html><title>in</title>", "application/octet-stream", r"a web page came \(in\)"),
        (b"<html>\x1b[31m", "application/octet-stream", "a web page"),
    ],
)
def test_texts_are_told_from_the_file(server: FileServer, tmp_path: Path, data: bytes, kind: str, told: str) -> None:
    server.files["/a"] = Served(data, kind=kind)
    with pytest.raises(DownloadError, match=f"expected the file, but {told}"):
        get(server, tmp_path / "a.pt")
    assert left(tmp_path) == []
    server.files["/a"] = Served(DATA, kind="text/plain")  # old servers state it for unknown names
    assert get(server, tmp_path / "b.pt") == SHA


def test_an_answer_without_size_is_refused_because_truncation_could_not_be_told(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["/a"] = Served(DATA, length=False)
    with pytest.raises(DownloadError, match="states the size"):
        get(server, tmp_path / "a.pt")


def test_a_compressed_part_is_not_appended(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='"one"', cut=[3_000_000], headers={"Content-Encoding": "gzip"})
    with pytest.raises(DownloadError, match="the server compresses it"):
        get(server, tmp_path / "a.pt", size=len(DATA))
