"""Tests that joined stores have all records, that disagreeing ones are refused, and that a kill loses nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from purebench.core.errors import PurebenchError
from purebench.records import store
from purebench.records.merge_stores import merge_stores
from purebench.records.record import Record

from synthetic import make_board, make_record  # isort: skip

BOARD = make_board(("clean",), ("plain", "noisy"), images=4, block=2)


def record(defense: str, block: int, seconds: float = 1.0, **more: Any) -> Record:
    return make_record(BOARD, defense, "clean", block, ["1", "0"], seconds={"attack": seconds}, **more)


def written(
    path: Path,
    records: Sequence[Record],
    board: Any = BOARD,
    images: float = 0.5,
    rows: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    with store.writing(path) as saved:
        keys = [f"{board.name}/{row.name}/clean/{block}" for block in range(2) for row in board.defenses]
        saved.set_plan(board.name, board.to_dict(), keys, "board.yaml", rows=rows)
        for one in records:
            saved.add(one, np.full((2, 1, 3, 3), images, dtype=np.float32))
    return path


def contents(path: Path) -> dict[str, tuple[Record, bytes]]:
    with store.reading(path) as saved:
        found = {}
        for key in saved.record_keys():
            one, images = saved.get(key), saved.adversarial(key)
            assert one is not None
            assert images is not None
            found[key] = replace(one, seconds={}), images.tobytes()
        return found


def test_the_joined_store_has_all_records_images_and_the_plan(tmp_path: Path) -> None:
    one = written(tmp_path / "a", [record("plain", 0), record("noisy", 0)])
    two = written(tmp_path / "b", [record("plain", 1), record("noisy", 0, seconds=7.0)])
    assert merge_stores([one, two], tmp_path / "new" / "c") == {"small": (3, 4)}
    assert contents(tmp_path / "new" / "c") == contents(one) | contents(two)
    with store.reading(tmp_path / "new" / "c") as joined, store.reading(one) as first:
        assert joined.plans() == first.plans()
        assert joined.origin("small") == "board.yaml"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"c", "c.lock"}


def test_a_store_can_take_in_others(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a", [record("plain", 0)]), written(tmp_path / "b", [record("plain", 1)])
    merge_stores([one, two], one)
    assert len(contents(one)) == 2
    with pytest.raises(PurebenchError, match="expected a file that does not exist yet"):
        merge_stores([one, two], written(tmp_path / "c", []))


def test_equal_records_of_two_commits_of_the_same_code_are_joined(tmp_path: Path) -> None:
    """The key of a job hashes its code, so that a commit of other files computes the same."""
    first = record("plain", 0)
    one = written(tmp_path / "a", [first])
    two = written(tmp_path / "b", [replace(first, provenance={**first.provenance, "commit": "1"})])
    assert merge_stores([one, two], tmp_path / "c") == {"small": (1, 4)}
    assert contents(tmp_path / "c") == contents(one)


@pytest.mark.parametrize("how", ["record", "provenance", "images"])
def test_disagreeing_records_are_named_and_nothing_is_written(tmp_path: Path, how: str) -> None:
    same = record("plain", 0)
    changed = {"record": {"notes": ["another"]}, "provenance": {"provenance": {**same.provenance, "device": "cuda"}}}
    other = replace(same, **changed.get(how, {}))
    one = written(tmp_path / "a", [record("plain", 0)])
    two = written(tmp_path / "b", [other, record("noisy", 0)], images=0.25 if how == "images" else 0.5)
    with pytest.raises(PurebenchError, match="but 1 differ between the stores: clean on plain, block 0 of small"):
        merge_stores([one, two], tmp_path / "c")
    assert {path.name for path in tmp_path.iterdir()} - {"c.lock"} == {"a", "a.lock", "b", "b.lock"}


def test_rows_of_one_board_that_were_run_apart_are_joined(tmp_path: Path) -> None:
    plain, noisy = (replace(BOARD, defenses=(row,)) for row in BOARD.defenses)
    one, two = written(tmp_path / "a", [record("plain", 0)], plain), written(tmp_path / "b", [], noisy)
    assert merge_stores([one, two], tmp_path / "c") == {"small": (1, 4)}
    with store.reading(tmp_path / "c") as joined:
        definition, keys = joined.plans()["small"]
    assert definition == BOARD.to_dict()
    assert len(keys) == 4
    longer = replace(noisy, dataset=replace(noisy.dataset, images=6))
    with pytest.raises(PurebenchError, match=r"b2: expected the settings of the board 'small'.*dataset differ"):
        merge_stores([one, written(tmp_path / "b2", [], longer)], tmp_path / "d")


def test_rows_whose_jobs_have_other_keys_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    """Otherwise the merged row would have some blocks of one code and some of another."""
    same = {"plain": ["p0", "p1"]}
    one = written(tmp_path / "a", [record("plain", 0)], rows={**same, "noisy": ["n0", "n1"]})
    two = written(tmp_path / "b", [record("plain", 1)], rows={**same, "noisy": ["n0", "other"]})
    with pytest.raises(PurebenchError, match=r"b: expected the jobs that .*'small'.* of the rows 'noisy' have other"):
        merge_stores([one, two], tmp_path / "c")
    assert not (tmp_path / "c").exists()
    third = written(tmp_path / "d", [record("plain", 1)], rows=same)  # its machine lacks the files of the other row
    merge_stores([one, third], tmp_path / "c")
    with pytest.raises(PurebenchError, match="have other keys"):
        merge_stores([third, one, two], tmp_path / "e")


def test_a_plan_that_was_stopped_is_joined_with_a_longer_one(tmp_path: Path) -> None:
    stopped = written(tmp_path / "a", [record("plain", 0)], rows={"plain": ["p0"]})
    whole = written(tmp_path / "b", [record("plain", 1)], rows={"plain": ["p0", "p1"]})
    for number, sources in enumerate(([stopped, whole], [whole, stopped])):
        merge_stores(sources, tmp_path / f"c{number}")
        with store.reading(tmp_path / f"c{number}") as joined:
            assert joined.rows("small") == {"plain": ["p0", "p1"]}


def test_damaged_keys_of_rows_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "a", [record("plain", 0)])
    with closing(sqlite3.connect(one)) as saved, saved:
        saved.execute("UPDATE plans SET json = json_set(json, '$.rows', json('{\"plain\": [3]}'))")
    with pytest.raises(PurebenchError, match="a: expected the keys of each row of a plan"):
        merge_stores([one], tmp_path / "c")


def test_a_merge_leaves_the_file_of_another_one_alone(tmp_path: Path) -> None:
    one, part = written(tmp_path / "a", [record("plain", 0)]), tmp_path / ".c.part"
    with FileLock(f"{tmp_path / 'c'}.lock"):
        part.write_text("of the process that holds the lock", encoding="utf-8")
        with pytest.raises(PurebenchError, match="another process of purebench is writing to this store"):
            merge_stores([one], tmp_path / "c")
    assert part.read_text(encoding="utf-8") == "of the process that holds the lock"
    merge_stores([one], tmp_path / "c")
    assert not part.exists()


def test_a_missing_or_damaged_store_is_named(tmp_path: Path) -> None:
    one = written(tmp_path / "a", [record("plain", 0)])
    with pytest.raises(PurebenchError, match=r"these files do not exist: .*gone"):
        merge_stores([one, tmp_path / "gone"], tmp_path / "c")
    (tmp_path / "no").write_text("not a store", encoding="utf-8")
    with pytest.raises(PurebenchError, match="no: expected a store of purebench"):
        merge_stores([one, tmp_path / "no"], tmp_path / "c")
    assert not (tmp_path / "c").exists()


KILLED = """
import os, sys
from pathlib import Path
from purebench.records import merge_stores as module, store
a, b, target, after = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
copy, left = store.Store.copy, [after]
def counted(self, key, source):
    if left[0] == 0:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    copy(self, key, source)
store.Store.copy = counted
module.merge_stores([a, b], target)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_merge_that_is_killed_changes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    one = written(tmp_path / "a", [record("plain", 0), record("noisy", 0)])
    two = written(tmp_path / "b", [record("plain", 1), record("noisy", 1)])
    before = contents(one)
    for target, after in ((one, 3), (tmp_path / "c", 1)):
        done = subprocess.run([sys.executable, "-c", KILLED, str(one), str(two), str(target), str(after)], check=False)
        assert done.returncode == -9
        assert contents(one) == before
    assert not (tmp_path / "c").exists()
    merge_stores([one, two], tmp_path / "c")
    assert contents(tmp_path / "c") == contents(one) | contents(two)
    merge_stores([one, two], one)
    assert contents(one) == contents(tmp_path / "c")
    assert not list(tmp_path.glob(".*part*"))
