"""Tests `purebench fetch` with a local server: what is downloaded, checked, recorded, and left to the user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from purebench.boards.files.needed_files import NeededFile
from purebench.cli.fetching import State, fetch_files
from purebench.cli.main import app
from purebench.cli.missing_files import how_to_get, missing_table
from purebench.core.errors import Missing
from purebench.core.files.recorded_hashes import RecordedHashes

from boards import write_board  # isort: skip
from file_server import FileServer, Served, serving  # isort: skip

DATA = b"\0eights" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
ROW = '''
from pathlib import Path
from purebench.core.defense import Function
from purebench.core.errors import Missing
from purebench.core.files.published import find_published

def published(place, address="https://example.org/page", size=None, digest="", download=""):
    """Darkens an image, if its file is there."""
    find_published(Missing(place, address, size, digest, "MIT", download))
    return Function(lambda x: 0.9 * x, random=False)
'''


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as state:
        yield state


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PUREBENCH_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def board_of(folder: Path, **rows: dict[str, object]) -> Path:
    """Write a board with a row for each published file."""
    (folder / "published.py").write_text(ROW, encoding="utf-8")
    defenses = {name: {f"{folder}/published.py:published": params} for name, params in rows.items()}
    return write_board(folder, images=4, defenses={"none": "none", **defenses})


def call(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_what_can_be_downloaded_is_and_the_rest_is_listed(server: FileServer, home: Path, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA)
    board = board_of(
        tmp_path,
        direct={
            "place": str(home / "a.pt"),
            "size": len(DATA),
            "digest": f"sha256 {SHA}",
            "download": f"{server.url}/a",
        },
        drive={"place": str(home / "b.pt"), "address": "https://drive.google.com/uc?id=1t98"},
    )
    code, out, err = call("fetch", board, "--dry-run")
    assert code == 2
    assert "rows that can be run now: none\n" in out
    assert not (home / "a.pt").exists()
    assert "2 files are missing" in err
    assert "purebench fetch downloads it" in err
    code, out, err = call("fetch", board)
    assert code == 2
    assert (home / "a.pt").read_bytes() == DATA
    assert f"downloaded: {home}/a.pt: sha256 {SHA}, as published" in out
    assert "rows that can be run now: none, direct\n" in out
    for words in ("1 file is missing", "by hand: in a browser, or gdown 1t98 -O", "needed by drive", "licence MIT"):
        assert words in err
    server.asked.clear()
    code, out, err = call("fetch", board, "-d", "direct")
    assert code == 0
    assert "missing" not in err
    assert f"here: {home}/a.pt: sha256 {SHA}, as published" in out
    assert server.asked == []
    code, out, err = call("run", board, "--store", tmp_path / "s", "--workers", 1)
    assert code == 0, err
    assert "drive is not run: files are missing on this machine" in err


def test_an_unknown_hash_is_recorded_at_first_use_and_printed(server: FileServer, home: Path, tmp_path: Path) -> None:
    server.files["/a"] = Served(DATA)
    board = board_of(tmp_path, row={"place": str(home / "deep" / "a.pt"), "download": f"{server.url}/a"})
    (home / "deep").mkdir(parents=True)
    (home / "deep" / "a.pt").write_bytes(DATA)
    assert f"sha256 {SHA}, and none is published or recorded" in call("fetch", board, "--dry-run")[1]
    assert [path.name for path in home.iterdir()] == ["deep"]
    (home / "deep" / "a.pt").unlink()
    code, out, _ = call("fetch", board)
    assert code == 0
    assert f"sha256 {SHA}, recorded in {home}/hashes.json because none is published" in out
    assert json.loads((home / "hashes.json").read_text(encoding="utf-8"))["sha256"] == {"deep/a.pt": SHA}
    assert f"sha256 {SHA}, as at its first use" in call("fetch", board)[1]
    (home / "deep" / "a.pt").write_bytes(b"\0changed")
    code, out, _ = call("fetch", board)
    assert code == 2
    assert f"wrong: {home}/deep/a.pt: sha256" in out
    (home / "deep" / "a.pt").unlink()
    server.files["/a"] = Served(DATA[:-1] + b"?")
    code, out, _ = call("fetch", board)
    assert code == 2
    assert f"expected sha256 {SHA}" in out
    assert f"remove its line from {home}/hashes.json" in out
    assert not (home / "deep" / "a.pt").exists()
    (home / "hashes.json").write_text("[]", encoding="utf-8")
    done = CliRunner().invoke(app, ["fetch", str(board), "--dry-run"])
    assert "expected a record of hashes, schema 1" in str(done.exception)


def needed(place: Path, **known: object) -> NeededFile:
    file = Missing(str(place), "https://example.org", **known)  # type: ignore[arg-type]
    return NeededFile(file, place if place.exists() else None, ("row",))


@pytest.mark.parametrize(
    ("content", "known", "state", "told"),
    [
        (DATA, {"size": len(DATA), "digest": f"sha256 {SHA}"}, State.HERE, "as published"),
        (DATA, {"digest": f"sha256 {SHA[:8]} (first digits, from its name)"}, State.HERE, "as published"),
        (DATA[:-1], {"size": len(DATA)}, State.WRONG, "6,999 bytes of 7,000; delete it"),
        (b"<html>log in</html>", {}, State.WRONG, "a web page; delete it"),
        (DATA, {"digest": f"md5 {'0' * 32}"}, State.WRONG, "but expected md5 000"),
        (DATA, {"digest": f"md5 {'0' * 32} (of a third party's copy)"}, State.HERE, "but expected md5 000"),
        (DATA[:-1], {"size": 7000, "digest": f"md5 {'0' * 32} (of a third party's copy)"}, State.WRONG, "6,999 bytes"),
        (DATA, {"size": 6999, "digest": f"md5 {'0' * 32} (of a third party's copy)"}, State.HERE, "third party's copy"),
    ],
)
def test_files_that_are_here_are_checked(
    tmp_path: Path, content: bytes, known: dict[str, object], state: State, told: str
) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    (found,) = fetch_files([needed(tmp_path / "a.pt", **known)], RecordedHashes(tmp_path), lambda *_: None)
    assert found.state is state
    assert told in found.told


def test_a_failure_does_not_prevent_other_downloads(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/page": Served(b"<html>log in</html>"), "/a": Served(DATA)}
    files = [needed(tmp_path / name, download=f"{server.url}/{name}") for name in ("gone", "page", "a")]
    found = fetch_files(files, RecordedHashes(tmp_path), lambda *_: None)
    assert [one.state for one in found] == [State.FAILED, State.FAILED, State.DOWNLOADED]
    assert "404" in found[0].told
    assert "web page" in found[1].told


def test_bad_answers_do_not_prevent_other_downloads(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/to": Served(redirect="http://[bad/x"), "/a": Served(DATA)}
    server.files["/size"] = Served(DATA, ranges=False, headers={"Content-Length": "abc"})
    files = [needed(tmp_path / name, download=f"{server.url}/{name}") for name in ("to", "size", "a")]
    found = fetch_files(files, RecordedHashes(tmp_path), lambda *_: None)
    assert [one.state for one in found] == [State.FAILED, State.FAILED, State.DOWNLOADED]


@pytest.mark.parametrize("content", [b"", b'{"message":"Not Found"}'])
def test_texts_that_were_saved_as_models_are_wrong(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    (found,) = fetch_files([needed(tmp_path / "a.pt")], RecordedHashes(tmp_path), lambda *_: None)
    assert found.state is State.WRONG
    assert not (tmp_path / "hashes.json").exists()


@pytest.mark.parametrize(("row", "told"), [("nosuch", "'nosuch' is unknown"), ("jpeg(quality=-5)", "but got -5")])
def test_a_row_that_cannot_be_made_is_an_error(home: Path, tmp_path: Path, row: str, told: str) -> None:
    done = CliRunner().invoke(app, ["fetch", str(board_of(tmp_path)), "-d", row])
    assert told in str(done.exception)
    board = write_board(tmp_path, images=4, defenses={"none": "none", "bad": row})
    code, out, err = call("fetch", board)
    assert code == 2
    assert "rows that can be run now: none\n" in out
    assert "bad cannot be run: " in err
    assert told in err


def test_a_folder_of_models_that_cannot_be_made_is_a_clear_error(home: Path, tmp_path: Path) -> None:
    home.write_bytes(b"")
    board = board_of(tmp_path, row={"place": str(home / "a.pt")})
    done = CliRunner().invoke(app, ["fetch", str(board)])
    assert "expected a folder that can be written" in str(done.exception)
    assert call("fetch", board, "--dry-run")[0] == 2


def test_folders_and_conversions_are_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "a.safetensors").write_bytes(DATA)
    converted = NeededFile(Missing(str(tmp_path / "a.pt"), "x", 9), tmp_path / "a.safetensors", ())
    found = fetch_files([needed(tmp_path / "images"), converted], RecordedHashes(tmp_path), lambda *_: None)
    assert [(one.state, one.told) for one in found] == [
        (State.HERE, "a folder, not checked"),
        (State.HERE, "a conversion, not checked"),
    ]


def test_a_file_under_another_of_its_names_is_checked(tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(DATA)
    for digits, state in ((SHA, State.HERE), ("0" * 64, State.WRONG)):
        file = Missing(str(tmp_path / "a.pt"), "https://example.org", digest=f"sha256 {digits}")
        one = NeededFile(file, tmp_path / "other.pt", ("row",))
        (found,) = fetch_files([one], RecordedHashes(tmp_path), lambda *_: None)
        assert found.state is state


def test_two_fetches_do_not_write_the_same_files(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    board = board_of(tmp_path, row={"place": str(home / "a.pt")})
    with FileLock(home / ".fetch.lock"):
        done = CliRunner().invoke(app, ["fetch", str(board)])
    assert "one runs; wait for it" in str(done.exception)


@pytest.mark.parametrize(
    ("published", "told"),
    [
        ("https://drive.google.com/file/d/16_-Ahc6 (score_sde)", "gdown 16_-Ahc6 -O /m/a"),
        ("https://drive.google.com/drive/folders/1ist", "choose the file in the folder"),
        ("https://huggingface.co/SerezD/gen_adversarial/tree/main/classifiers", "choose the file on the page"),
        ("https://image-net.org/download.php (registration)", "register there"),
        ("https://example.org", "open the address in a browser"),
    ],
)
def test_the_user_is_told_how_to_get_each_kind_of_file(published: str, told: str) -> None:
    assert told in how_to_get(Missing("/m/a", published))
    assert "by hand" in how_to_get(Missing("/m/a", published))
    assert how_to_get(Missing("/m/a", published, download="https://example.org/a")) == "purebench fetch downloads it"


def test_the_table_names_everything_that_is_known() -> None:
    files = [Missing("/m/a", "https://example.org", 1234, "md5 ab", "MIT"), Missing("/m/b", "https://example.org")]
    text = "\n".join(missing_table(files, {"/m/a": ["one", "two"]}))
    for words in ("2 files are missing", "1,234 bytes; md5 ab; licence MIT", "needed by one, two"):
        assert words in text
    assert "size not known; hash not known; licence not known" in text
    assert text.count("needed by") == 1
