"""Tests that records are read from the layout of `to_json` as pydantic reads them from any JSON."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from synthetic import make_board, make_record

from purebench.core.answers import LookCount
from purebench.core.errors import PurebenchError
from purebench.core.files.versioned_model import from_json
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.records.outcome import Outcome
from purebench.records.record import CURE, Picture, Record
from purebench.records.stored_json import read_record
from purebench.records.validation import check_record, outcomes_of


@pytest.fixture
def record():
    look = LookCount(3, 24, 5, 0.5, True)
    found = make_record(
        make_board(), "noisy", "apgd", 0, ["1011", Outcome.ERRORED, "0000"], random=True, reason="a ], b"
    )
    return replace(
        found,
        nearest=[0.01, None, 2.5],
        claims=[1, None, 0],
        known_right=[2, None, 0],
        known_seeds=4,
        looks=[look, None, look],
        clean_looks=[look, None, look],
        notes=['a note with ", "outcomes": [] and a ]'],
        warnings=[ResultWarning(WarningCode.CONDITIONAL, "conditional", 1, 2)],
        pictures=[Picture(0, 1, "ab==", "ab==", 2)],
        seconds={"attack": 1.5, "verify": 2},
    )


def test_the_layout_of_to_json_is_read_as_any_json_is(record):
    text = record.to_json()
    assert read_record(Record, text) == (from_json(Record, text, version=1, cure=""), False)
    assert read_record(Record, text)[0] == record


def test_every_field_keeps_its_type(record):
    found, _ = read_record(Record, record.to_json())
    assert all(isinstance(outcome, Outcome) for outcome in found.outcomes)
    assert {field.name: type(getattr(found, field.name)) for field in fields(Record)} == {
        field.name: type(getattr(record, field.name)) for field in fields(Record)
    }


def test_another_layout_is_left_to_the_general_reader(record):
    for text in (
        json.dumps(asdict(record), sort_keys=True, indent=1),
        json.dumps(asdict(record), sort_keys=True, separators=(",", ":")),
        json.dumps(dict(reversed(asdict(record).items()))),
    ):
        assert read_record(Record, text) is None
        assert Record.from_json(text) == record


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"block": 0', '"block": 0, "block": 0'),
        ('"seconds": {', '"seconds": {"attack": 1, '),
        ('"1011"', '"10x1"'),
        ('"1011"', '"1011", "1"'),
        ('"1011"', "1011"),
        ('["1011"', '[1"011"'),
        ('"1011", "', '"1011"1, "'),
        ('"errored"', '"broken"'),
        ('"schema": 1', '"schema": 2'),
        ('"known_seeds": 4', '"known_seeds": 4.0'),
        ('"data": "', '"data": NaN, "more": "'),
        ("[0.01, ", "[-0.01, "),
        ("[0.01, ", "[1e999, "),
        ('"looks": [', '"looks": [[], '),
        ('"board": "', '"board": "\\ud800'),
    ],
)
def test_a_damaged_record_is_an_error_with_the_message_of_the_general_reader(record, before, after):
    text = record.to_json()
    assert text.count(before) >= 1
    damaged = text.replace(before, after, 1)
    assert read_record(Record, damaged) is None or "1011" in before
    with pytest.raises(PurebenchError) as found:
        Record.from_json(damaged)
    assert str(found.value) == message(damaged)


def message(text):
    """Returns the error of the general reader."""
    with pytest.raises(PurebenchError) as found:
        check_record(from_json(Record, text, version=1, cure=CURE))
    return str(found.value)


def test_records_share_equal_parts_and_long_parts_are_not_kept(record):
    one, other = (read_record(Record, replace(record, key=key).to_json())[0] for key in "ab")
    assert one.provenance is other.provenance
    assert one.images is other.images
    assert one.draws[0] is other.draws[0]
    assert one.distances is not other.distances
    many = replace(record, provenance={"data": "x" * 30_000})
    one, other = (read_record(Record, many.to_json())[0] for _ in "ab")
    assert one.provenance == other.provenance
    assert one.provenance is not other.provenance


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_outcomes_that_the_draws_decide_are_read_with_them(count):
    """All images are answered, so that one reading finds draws and outcomes; a wrong outcome is still an error."""
    rng = np.random.default_rng(count)
    draws = ["".join("01"[int(one)] for one in rng.integers(0, 2, count)) for _ in range(50)]
    found = make_record(make_board(images=50, block=50), "noisy", "apgd", 0, draws, random=True)
    expected = [Outcome.ROBUST if 2 * one.count("1") > count else Outcome.MISCLASSIFIED for one in draws]
    assert found.outcomes == expected
    assert read_record(Record, found.to_json()) == (found, True)
    swapped = [Outcome.MISCLASSIFIED if one is Outcome.ROBUST else Outcome.ROBUST for one in expected]
    damaged = replace(found, outcomes=[*expected[:-1], swapped[-1]]).to_json()
    assert read_record(Record, damaged)[1] is False
    with pytest.raises(PurebenchError, match=r"outcomes\[49\]: .* contradicts the draws"):
        Record.from_json(damaged)


def test_the_remembered_strings_of_draws_are_bounded(record, monkeypatch):
    monkeypatch.setattr("purebench.records.validation.MOST_STRINGS", 3)
    monkeypatch.setattr("purebench.records.stored_json.MOST_STRINGS", 3)
    outcomes_of.cache_clear()
    table = outcomes_of(5)
    for number in range(20):
        table[format(number, "05b")]
        assert len(table) <= 3
    for length in (4, 6):
        with pytest.raises(KeyError):
            table["1" * length]
    outcomes_of.cache_clear()
