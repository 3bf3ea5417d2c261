"""Tests downloads from a local server: resume, and every way in which what comes is not the file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from email.message import Message
from pathlib import Path

import pytest

from purebench.core.files.digests import Digest
from purebench.core.files.download import RESERVE, TRIES, download
from purebench.core.files.http_answer import DownloadError

from file_server import DATA, SHA, FileServer, Served, get, left  # isort: skip


def test_a_file_is_saved_with_its_hash_and_progress(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA)
    told: list[tuple[str, int, int | None]] = []
    place = tmp_path / "deep" / "a.pt"
    assert get(server, place, progress=lambda *told_now: told.append(told_now)) == SHA
    assert place.read_bytes() == DATA
    assert left(place.parent) == ["a.pt"]
    assert ("a.pt", len(DATA), len(DATA)) in told
    assert ("hash of a.pt", len(DATA), len(DATA)) in told


def test_redirects_are_followed(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/a": Served(redirect="/b"), "/b": Served(redirect=f"{server.url}/c"), "/c": Served(DATA)}
    assert get(server, tmp_path / "a.pt", size=len(DATA), digest=Digest("sha256", SHA)) == SHA
    assert [path for path, _ in server.asked] == ["/a", "/b", "/c"]


def test_an_interrupted_download_continues_where_it_ended(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='"one"', cut=[3_000_000, 1_000_000])
    assert get(server, tmp_path / "a.pt") == SHA
    assert [asked for _, asked in server.asked] == ["", "bytes=3000000-", "bytes=4000000-"]


def test_without_ranges_the_download_begins_again(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='"one"', ranges=False, cut=[3_000_000])
    assert get(server, tmp_path / "a.pt") == SHA
    assert (tmp_path / "a.pt").read_bytes() == DATA


def test_without_validator_and_hash_a_part_is_not_continued(server: FileServer, tmp_path: Path) -> None:
    """The file may have changed, and nothing would tell."""
    server.files["/a"] = Served(DATA, cut=[3_000_000])
    get(server, tmp_path / "a.pt")
    assert [asked for _, asked in server.asked] == ["", ""]
    server.asked.clear()
    server.files["/a"] = Served(DATA, cut=[3_000_000])
    get(server, tmp_path / "b.pt", digest=Digest("sha256", SHA))
    assert [asked for _, asked in server.asked] == ["", "bytes=3000000-"]


def interrupted(server: FileServer, place: Path, data: bytes, etag: str) -> None:
    """Leave a part, as a program that was killed does."""
    server.files["/a"] = Served(data, etag=etag, cut=[3_000_000], status=[None, *[404] * 1])
    with pytest.raises(DownloadError, match="404"):
        get(server, place)
    assert not place.exists()
    assert (place.parent / "a.pt.part").stat().st_size == 3_000_000
    server.asked.clear()


@pytest.mark.parametrize("obeys", [True, False])
def test_a_file_that_changed_between_two_calls_begins_again(server: FileServer, tmp_path: Path, obeys: bool) -> None:
    """Also where the server sends the rest of the new file although If-Range names the old one."""
    interrupted(server, tmp_path / "a.pt", bytes(len(DATA)), '"old"')
    server.files["/a"] = Served(DATA, etag='"new"', ignore_if_range=not obeys)
    assert get(server, tmp_path / "a.pt") == SHA
    assert server.asked[0] == ("/a", "bytes=3000000-")
    assert (tmp_path / "a.pt").read_bytes() == DATA


def test_a_part_that_begins_elsewhere_is_not_appended(server: FileServer, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "a.pt", DATA, '"one"')
    server.files["/a"] = Served(DATA, etag='"one"', late=10)
    assert get(server, tmp_path / "a.pt") == SHA
    assert [asked for _, asked in server.asked] == ["bytes=3000000-", ""]


def test_a_part_of_another_file_without_validator_is_found_by_the_hash(server: FileServer, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "a.pt", bytes(len(DATA)), "")
    server.files["/a"] = Served(DATA)
    assert get(server, tmp_path / "a.pt", digest=Digest("sha256", SHA)) == SHA
    assert [asked for _, asked in server.asked] == ["bytes=3000000-", ""]


def test_a_part_of_another_address_or_with_damaged_state_is_not_used(server: FileServer, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "a.pt", bytes(len(DATA)), '"one"')
    server.files["/b"] = Served(DATA, etag='"one"')
    assert download(f"{server.url}/b", tmp_path / "a.pt") == SHA
    interrupted(server, tmp_path / "b" / "a.pt", bytes(len(DATA)), '"one"')
    (tmp_path / "b" / "a.pt.part.json").write_text("{", encoding="utf-8")
    server.files["/a"] = Served(DATA, etag='"one"')
    assert get(server, tmp_path / "b" / "a.pt") == SHA


def test_a_file_that_became_shorter_than_the_part_begins_again(server: FileServer, tmp_path: Path) -> None:
    interrupted(server, tmp_path / "a.pt", DATA, '"one"')
    server.files["/a"] = Served(DATA[:9], etag='"one"')
    assert get(server, tmp_path / "a.pt") == hashlib.sha256(DATA[:9]).hexdigest()


@pytest.mark.parametrize(
    ("status", "told"), [(404, "the server has none"), (403, "wants a login"), (401, "wants a login"), (418, "418")]
)
def test_refusals_are_told_at_once(server: FileServer, tmp_path: Path, status: int, told: str) -> None:
    server.files["/a"] = Served(DATA, status=[status])
    with pytest.raises(DownloadError, match=told):
        get(server, tmp_path / "a.pt")
    assert left(tmp_path) == []


def test_a_busy_server_is_asked_again_and_a_dead_one_given_up(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, status=[503, 429])
    assert get(server, tmp_path / "a.pt") == SHA
    server.files["/a"] = Served(DATA, status=[503] * 99)
    with pytest.raises(DownloadError, match=f"failed {TRIES} times in a row"):
        get(server, tmp_path / "b.pt")
    with pytest.raises(DownloadError, match="failed"):
        download("http://127.0.0.1:9/a", tmp_path / "b.pt", pause=0.001)
    assert left(tmp_path) == ["a.pt"]


def test_a_connection_that_always_ends_early_is_an_error(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, ranges=False, cut=[1_000_000] * 99)
    with pytest.raises(DownloadError, match=r"1,000,000 of 5,120,000 bytes came.*the same command begins again"):
        get(server, tmp_path / "a.pt")
    assert left(tmp_path) == ["a.pt.part", "a.pt.part.json"]


def test_chunked_answers_are_whole_only_with_their_last_chunk(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, chunked=True, cut=[2_500_000])
    assert get(server, tmp_path / "a.pt") == SHA
    assert len(server.asked) == 2


def test_another_size_is_refused_before_the_file_is_received(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA)
    with pytest.raises(DownloadError, match=r"expected 7 bytes, but the file at .* has 5,120,000"):
        get(server, tmp_path / "a.pt", size=7)
    assert left(tmp_path) == []
    server.files["/a"] = Served(DATA, chunked=True)
    with pytest.raises(DownloadError, match=r"expected 7 bytes, but more came"):
        get(server, tmp_path / "a.pt", size=7)
    assert left(tmp_path) == []


def test_a_wrong_hash_is_refused_and_nothing_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA)
    with pytest.raises(DownloadError, match=rf"expected md5 {'0' * 32}, but the file at .* has md5 \w+: it is damaged"):
        get(server, tmp_path / "a.pt", digest=Digest("md5", "0" * 32))
    assert left(tmp_path) == []
    assert get(server, tmp_path / "a.pt", digest=Digest("sha256", SHA[:8])) == SHA, "first digits suffice"


def test_a_full_disk_is_told_before_the_download(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = Served(DATA)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 10, 5))  # type: ignore[attr-defined]
    with pytest.raises(DownloadError, match="5,120,000 bytes of free space"):
        get(server, tmp_path / "a.pt")
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="a place that can be written"):
        get(server, tmp_path / "file" / "a.pt")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a", "example.org"])
def test_only_http_addresses_are_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="http"):
        download(url, tmp_path / "a")


def test_an_encrypted_address_must_not_lead_to_an_unencrypted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(io.BytesIO):
        status, headers = 200, Message()

        def geturl(self) -> str:
            return "http://example.org/a"

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer(DATA))
    with pytest.raises(DownloadError, match=r"an encrypted connection, but it leads to http://example\.org/a"):
        download("https://example.org/a", tmp_path / "a")
    assert left(tmp_path) == []


def test_a_download_that_was_killed_continues(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='"one"')
    code = (
        "import sys, time; from pathlib import Path; from purebench.core.files.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]), progress=lambda what, done, total: done > 2e6 and time.sleep(99))"
    )
    place = tmp_path / "a.pt"
    process = subprocess.Popen([sys.executable, "-c", code, f"{server.url}/a", str(place)])
    try:
        part, end = tmp_path / "a.pt.part", time.monotonic() + 60
        while not (part.is_file() and part.stat().st_size > 2e6) and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not place.exists()
    had = part.stat().st_size
    assert 2e6 < had < len(DATA)
    assert json.loads((tmp_path / "a.pt.part.json").read_text(encoding="utf-8"))["total"] == len(DATA)
    assert get(server, place) == SHA
    assert server.asked[-1] == ("/a", f"bytes={had}-")
    assert left(tmp_path) == ["a.pt"]


def test_a_part_that_is_shorter_than_asked_for_is_completed(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='"one"', cut=[3_000_000], most=2_000_000)
    assert get(server, tmp_path / "a.pt") == SHA
    assert [asked for _, asked in server.asked] == ["", "bytes=3000000-", "bytes=5000000-"]


def test_a_file_of_unknown_size_is_whole_in_one_answer_or_not_at_all(server: FileServer, tmp_path: Path) -> None:
    """A part with an entity tag is not continued, because nothing would tell where the file ends."""
    server.files["/a"] = Served(DATA, etag='"one"', chunked=True, cut=[2_500_000], most=1_000_000)
    assert get(server, tmp_path / "a.pt") == SHA
    assert [asked for _, asked in server.asked] == ["", ""]
    server.files["/a"] = Served(DATA, etag='"one"', chunked=True, cut=[2_500_000] * 99)
    with pytest.raises(DownloadError, match="the same command begins again"):
        get(server, tmp_path / "b.pt")
    assert left(tmp_path) == ["a.pt", "b.pt.part", "b.pt.part.json"]


def test_a_weak_entity_tag_does_not_continue_a_part(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='W/"one"', cut=[3_000_000])
    assert get(server, tmp_path / "a.pt") == SHA
    assert [asked for _, asked in server.asked] == ["", ""]


def test_a_part_that_was_not_asked_for_is_not_the_file(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, unasked=True, most=1000)
    with pytest.raises(DownloadError, match=r"the whole file \(status 200\), but the server answers with status 206"):
        get(server, tmp_path / "a.pt")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "stated",
    ["bytes 3000000-5119999/*", "bytes 3000000-5119999/6000000", "bytes 3000000-9999999/5120000", "bytes 3-2/9", "x"],
)
def test_a_part_without_its_place_in_the_file_is_not_appended(server: FileServer, tmp_path: Path, stated: str) -> None:
    server.files["/a"] = Served(DATA, etag='"one"', cut=[3_000_000], headers={"Content-Range": stated})
    assert get(server, tmp_path / "a.pt") == SHA
    assert [asked for _, asked in server.asked] == ["", "bytes=3000000-", ""]


def test_parts_without_a_place_for_ever_are_an_error(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, etag='"one"', cut=[9_999, None] * 99, headers={"Content-Range": "x"})
    with pytest.raises(DownloadError, match=f"failed {TRIES} times"):
        get(server, tmp_path / "a.pt")


def test_a_redirect_to_an_invalid_address_is_a_clear_error(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(redirect="http://[bad/x")
    with pytest.raises(DownloadError, match="leads to, an invalid one"):
        get(server, tmp_path / "a.pt")


def test_a_file_without_an_end_does_not_fill_the_disk(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/a"] = Served(DATA, chunked=True)
    free = RESERVE + 3_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(free, 0, free))  # type: ignore[attr-defined]
    assert get(server, tmp_path / "b.pt") == SHA
    free = RESERVE
    with pytest.raises(DownloadError, match="bytes of free space"):
        get(server, tmp_path / "a.pt")


def test_cuts_at_varying_places_are_given_up_without_ranges(server: FileServer, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA, ranges=False, cut=[3_000_000, *[2_000_000, 1_000_000] * 99])
    with pytest.raises(DownloadError, match=f"failed {TRIES} times in a row"):
        get(server, tmp_path / "a.pt")
    assert len(server.asked) == TRIES + 1
