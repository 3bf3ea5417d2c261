"""Tests that an estimate lies inside its interval, and that invalid estimates are rejected."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purebench.statistics import Estimate


def estimate(**changes):
    fields = {"value": 0.613, "low": 0.582, "high": 0.6441, "confidence": 0.95, "n": 1000, "method": "wilson"}
    return Estimate(**{**fields, **changes})


def test_percent_has_one_decimal_and_the_interval_in_brackets():
    assert estimate().percent() == "61.3 % [58.2, 64.4]"


def test_half_width_is_half_the_interval():
    assert estimate(low=0.5, high=0.7).half_width == pytest.approx(0.1)


@given(
    ends=st.lists(st.floats(0, 1e6), min_size=3, max_size=3).map(sorted),
    confidence=st.floats(0.01, 0.99),
    n=st.integers(1, 10**9),
)
def test_an_estimate_survives_a_round_trip_through_json(ends, confidence, n):
    low, value, high = ends
    before = Estimate(value, low, high, confidence, n, "betting")
    assert Estimate.from_dict(json.loads(json.dumps(before.to_dict()))) == before


def test_an_estimate_of_numpy_numbers_can_be_written_as_json():
    before = estimate(value=np.float64(0.6), n=np.int64(7))
    assert Estimate.from_dict(json.loads(json.dumps(before.to_dict()))) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": 0.5}, "expected low <= value <= high, but got low=0.582, value=0.5"),
        ({"value": 0.7}, "expected low <= value <= high"),
        ({"value": float("nan")}, "check the data for NaN"),
        ({"low": float("nan")}, "check the data for NaN"),
        ({"confidence": 95}, "95 % confidence is written 0.95"),
        ({"confidence": 1.0}, "strictly between 0 and 1"),
        ({"confidence": float("nan")}, "strictly between 0 and 1"),
        ({"n": 0}, "at least 1, but got 0"),
        ({"n": 10.5}, "whole number of images"),
        ({"n": True}, "whole number of images"),
        ({"method": ""}, "the name of the method of the interval"),
    ],
)
def test_an_invalid_estimate_is_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        estimate(**changes)


def test_a_dict_with_unknown_or_missing_fields_is_rejected():
    data = estimate().to_dict()
    with pytest.raises(ValueError, match=r"write it with Estimate\.to_dict"):
        Estimate.from_dict({**data, "std": 0.1})
    del data["n"]
    with pytest.raises(ValueError, match=r"write it with Estimate\.to_dict"):
        Estimate.from_dict(data)


def test_an_estimate_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate().value = 1.0
