"""Tests that hostile stores and records are rejected with a message of one line."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from time import process_time
from typing import Any

import pytest
from refusing import refused

from purebench.records import store
from purebench.records.record import Record
from purebench.results.files.stored_board import from_store
from purebench.results.merge import merge

PICKS = "WHERE json ->> '$.attack' = 'worst-case'"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("PRAGMA user_version = 2", "expected a store of schema 1, but got 2"),
        ("PRAGMA user_version = 0", "is of purebench 0.4.0 or before"),
        ("DROP TABLE plans", "its tables differ"),
        ("ALTER TABLE records ADD COLUMN more TEXT", "its tables differ"),
        (
            "CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
            "its",
        ),
        ("CREATE TRIGGER gone AFTER INSERT ON records BEGIN DELETE FROM records; END", "its tables differ"),
        ("UPDATE plans SET json = '[]'", "expected the plan of a board"),
        ("UPDATE plans SET json = '{}'", "expected schema 1"),
        ("UPDATE plans SET keys = '{}'", "expected the keys of a plan"),
        ("UPDATE records SET json = '{}'", "is damaged: expected schema 1"),
        ("UPDATE records SET json = replace(json, '\"schema\": 1', '\"schema\": 2')", "which a later version of"),
        ("UPDATE records SET json = replace(json, 'robust', 'misclassified')", "contradicts the draws"),
        (
            f"UPDATE records SET json = json_set(json, '$.picked[0]', 'nobody') {PICKS}",
            "picked[0]: expected an attack of this result that is robust or misclassified",
        ),
        (
            f"UPDATE records SET json = json_remove(json, '$.picked[0]') {PICKS}",
            "picked: expected one value for each of 4 images, but got 3",
        ),
        (
            f"UPDATE records SET json = json_set(json, '$.picked', json('[]')) {PICKS}",
            "picked: expected one value for each",
        ),
        ("UPDATE records SET json = replace(json, '\"block\": 0', '\"block\": -1')", "block: expected a whole number"),
        ('UPDATE records SET json = replace(json, \'"key": "\', \'"key": "0\')', "expected the key of its row"),
        (
            "UPDATE records SET json = replace(json, '\"labels\": [0', '\"labels\": [9')",
            "an image of the result with its label",
        ),
    ],
)
def test_hostile_stores_are_rejected(sample: Any, sql: str, message: str) -> None:
    with closing(sqlite3.connect(sample.stores)) as saved, saved:
        saved.execute(sql)

    def read() -> None:
        board, records = from_store(sample.stores, "hostile")
        merge(board, records)

    refused(read, message)


@pytest.mark.parametrize(
    ("shape", "pixels", "message"),
    [
        ("4,1,4,4", zlib.compress(bytes(10**8)), "bytes cannot hold 256 for the shape"),
        ("4,1,4,4", zlib.compress(bytes(4 * 100_000)), "expected 256 bytes for the shape"),
        ("4,1,4,4", zlib.compress(bytes(255)), "expected 256 bytes for the shape"),
        ("4,1,4,4", b"", "expected 256 bytes for the shape"),
        ("4,1,4,4", b"nonsense", "the bytes are damaged"),
        ("99999,99999,99999,9", b"", "expected at most 268,435,456 numbers"),
        ("268435456,1,1,1", zlib.compress(bytes(100)), "cannot hold 1,073,741,824 for the shape"),
        ("4", b"", "expected a shape such as"),
        ("-1,1,4,4", b"", "expected a shape such as"),
    ],
)
def test_packed_images_that_do_not_match_their_shape_are_rejected(
    sample: Any, shape: str, pixels: bytes, message: str
) -> None:
    with store.reading(sample.stores) as saved:
        (_, keys) = saved.plans()["hostile"]
        before = saved.adversarial(keys[0])
    assert before is not None
    with closing(sqlite3.connect(sample.stores)) as changed, changed:
        changed.execute("UPDATE adversarial SET shape = ?, pixels = ? WHERE key = ?", (shape, pixels, keys[0]))
    with store.reading(sample.stores) as saved:
        refused(lambda: saved.adversarial(keys[0]), message)


def test_reading_many_records_is_fast(sample: Any) -> None:
    with store.reading(sample.stores) as saved:
        (_, keys) = saved.plans()["hostile"]
        record = saved.get(keys[0])
        assert record is not None
        text, began = record.to_json(), process_time()
        for _ in range(1000):
            assert Record.from_json(text) == record
        assert process_time() - began < 3  # 0.15 s on an idle core
        assert saved.has(keys[0])
        assert not saved.has("another")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"images": [1, 1]}, "images: expected each image once"),
        ({"labels": [0]}, "labels: expected one value for each of 2 images, but got 1"),
        ({"nearest": [0.1]}, "nearest: expected one value"),
        ({"reasons": ["", "", ""]}, "reasons: expected one value"),
        ({"draws": ["111", "11"]}, "draws: expected equally many draws of each image, but got [2, 3]"),
        ({"draws": ["01", "11"]}, "outcomes[0]: robust contradicts the draws '01'"),
        ({"outcomes": ["skipped", "robust"]}, "draws[0]: expected 0 verification draws of an image that is skipped"),
        ({"distances": [-1.0, 0.0]}, "distances[0]: expected a number of at least 0.0, but got -1.0"),
        ({"claims": [2, 0]}, "claims[0]: expected 0 or 1, but got 2"),
        ({"forwards": 2**63}, "forwards: expected a whole number below 9223372036854775808"),
        ({"provenance": {"defense": {"random": 1}}}, "provenance.defense.random: expected true or false, but got 1"),
        ({"provenance": {"defense": {"parameters": "many"}}}, "provenance.defense.parameters: expected a whole number"),
        ({"provenance": {"versions": {"a": [[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]}}}, "at most 20 levels"),
        ({"seconds": {"attack": "1"}}, "seconds.attack: expected a number, but got '1'"),
        ({"block": 0.5}, "block: expected a whole number, but got 0.5"),
        ({"note": []}, "the key 'note' is unknown; did you mean 'notes'?"),
        ({"schema": 0}, "expected schema 1, but got 0, which an earlier version of purebench wrote"),
        ({"schema": True}, "schema: expected 1, but got True"),
    ],
)
def test_inconsistent_records_are_rejected(fields: dict[str, Any], message: str) -> None:
    good = {
        **{"key": "k", "board": "b", "defense": "d", "attack": "a", "block": 0, "schema": 1},
        **{"images": [1, 2], "labels": [0, 1], "outcomes": ["robust", "robust"], "draws": ["11", "11"]},
        "distances": [0.0, None],
    }
    assert Record.from_dict(good).outcomes == ["robust", "robust"]
    refused(lambda: Record.from_dict(good | fields), message)
    refused(lambda: Record.from_dict({k: v for k, v in good.items() if k != "draws"}), "expected the key 'draws'")
