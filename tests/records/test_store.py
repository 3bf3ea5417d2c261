"""Tests of the store: records and images are written in one transaction per job, by a single writer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from purebench.core.errors import PurebenchError
from purebench.records import store
from purebench.records.outcome import Outcome
from purebench.records.record import Picture, Record


def record(key: str = "k", **fields: object) -> Record:
    plain = {
        "key": key,
        "board": "b",
        "defense": "d",
        "attack": "a",
        "block": 0,
        "images": [1, 2],
        "labels": [0, 1],
        "outcomes": [Outcome.ROBUST, Outcome.ERRORED],
        "draws": ["11", ""],
        "distances": [0.5, None],
        "pictures": [Picture(1, 0, "x", "y", 3)],
        "seconds": {"attack": 1.0},
    }
    return Record(**(plain | fields))  # type: ignore[arg-type]


def test_records_and_images_are_read_as_written(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 1, 3, 4), dtype=np.float32)
    with store.writing(tmp_path / "deep" / "s.sqlite") as saved:
        saved.add(record(), images)
        saved.add(record("other"))
        saved.set_plan("b", {"name": "b"}, ["k", "other"])
    with store.reading(tmp_path / "deep" / "s.sqlite") as saved:
        assert saved.get("k") == record()
        assert (saved.adversarial("k") == images).all()
        assert saved.adversarial("other") is None
        assert saved.get("absent") is None
        assert saved.plans() == {"b": ({"name": "b"}, ["k", "other"])}


def test_a_record_with_the_same_key_is_replaced(tmp_path: Path) -> None:
    with store.writing(tmp_path / "s") as saved:
        saved.add(record(), np.zeros((2, 1, 1, 1)))
        saved.add(record(reasons=["again", ""]))
        assert saved.get("k").reason == "again"  # type: ignore[union-attr]
        assert saved.adversarial("k") is None


def test_a_store_that_cannot_be_created_fails_immediately(tmp_path: Path) -> None:
    """It is not mistaken for a store that another process writes to, which would be waited for."""
    (tmp_path / "s.lock").mkdir()
    with pytest.raises(PurebenchError, match="the store cannot be created"), store.writing(tmp_path / "s", wait=600):
        pass


def test_a_second_writer_is_rejected_or_waits(tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = "import sys, pathlib; from purebench.records import store\n"
    code += "with store.writing(pathlib.Path(sys.argv[1]), float(sys.argv[2])): pass"
    with store.writing(path) as saved:
        saved.add(record())
        done = subprocess.run([sys.executable, "-c", code, path, "0"], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "another process of purebench (process" in done.stderr
        assert "--wait" in done.stderr
        waiting = subprocess.Popen([sys.executable, "-c", code, path, "60"])
        with store.reading(path) as seen:
            assert seen.get("k") == record()
    assert waiting.wait(60) == 0


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = (
        "import sys, pathlib, os, signal; from purebench.records import store\n"
        "with store.writing(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    with store.writing(path) as saved:
        saved.add(record())


def test_a_full_disk_gives_a_one_line_error_and_keeps_saved_records(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with store.writing(path) as saved:
        saved.add(record())
        pages = saved.connection.execute("PRAGMA page_count").fetchone()[0]
        saved.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(PurebenchError, match="full") as caught:
            saved.add(record("big"), np.random.default_rng(0).random((100, 1, 32, 32)))
        assert "\n" not in str(caught.value)
        assert saved.get("big") is None
    with store.reading(path) as saved:
        assert saved.get("k") == record()


def test_files_that_are_not_stores_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="does not exist"), store.reading(tmp_path / "absent"):
        pass
    file = tmp_path / "text"
    file.write_text("not a database " * 100, encoding="utf-8")
    with pytest.raises(PurebenchError, match="expected a store"), store.reading(file):
        pass
    with pytest.raises(PurebenchError, match="expected a store"), store.writing(file):
        pass
    with pytest.raises(PurebenchError, match="cannot be created"), store.writing(file / "below" / "s"):
        pass


def test_many_records_are_read_as_each_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "AT_ONCE", 3)
    with store.writing(tmp_path / "s.sqlite") as saved:
        for number in range(8):
            saved.add(record(f"k{number}"))
    keys = ["k5", "missing", "k0", "k7", "k1", "k5", "k6", "k2"]
    with store.reading(tmp_path / "s.sqlite") as saved:
        assert list(saved.get_many(keys)) == [saved.get(key) for key in keys if key != "missing"]
        assert list(saved.get_many([])) == []


def test_a_damaged_record_among_many_is_an_error_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with store.writing(path) as saved:
        saved.add(record("good"))
        saved.add(record("bad"))
        saved.connection.execute("UPDATE records SET json = replace(json, '\"bad\"', '\"other\"') WHERE key = 'bad'")
        saved.connection.commit()
    with store.reading(path) as saved, pytest.raises(PurebenchError, match="the record 'bad' is damaged"):
        list(saved.get_many(["good", "bad"]))
