"""Tests of threat models: accepted and rejected radii and norms."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from purebench.core.errors import PurebenchError
from purebench.core.threat import ThreatModel, largest_radius, parse_radius


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8/255", 8 / 255),
        (" 16 / 255 ", 16 / 255),
        ("0.5/255", 0.5 / 255),
        ("1/2.55e2", 1 / 255),
        ("0.03", 0.03),
        (".5", 0.5),
        ("1.", 1),
        ("1e-2", 0.01),
        ("1E1", 10),
        (2, 2),
        (np.float32(0.5), 0.5),
        (Fraction(8, 255), 8 / 255),
    ],
)
def test_a_radius_may_be_a_fraction_or_a_number(text: str | float, value: float) -> None:
    found = parse_radius(text)
    assert type(found) is float
    assert found == value


@given(st.integers(1, 10**6 - 1), st.integers(1, 1000))
def test_a_fraction_of_decimals_is_rounded_once(millionths: int, denominator: int) -> None:
    assert parse_radius(f"0.{millionths:06d}/{denominator}") == millionths / (10**6 * denominator)


EXTREME = ["1e-13", 5e-324, "1e-400", "1/1e200", 1e300, "1e300", 10**5000, "1e999999999", "9" * 5000]
INVALID = ["0", "-1/255", "8/0", "eight", "", "nan", "inf", "1/2/3", "/255", "8/", "1_0", "٨/255", 0, -0.1, None, [1]]


@pytest.mark.parametrize(
    "text", [*INVALID, float("nan"), True, False, "true", b"8/255", 1j, *EXTREME], ids=lambda _: ""
)
def test_invalid_radii_are_rejected_with_one_line(text: object) -> None:
    with pytest.raises(PurebenchError, match="radius") as caught:
        parse_radius(text)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_an_unknown_norm_error_suggests_the_nearest() -> None:
    with pytest.raises(PurebenchError, match="linf"):
        ThreatModel("linff", 0.1)


@pytest.mark.parametrize(
    ("radius", "cure"), [(8, "8/255 meant?"), (1.0000001, "1/255"), (1000, "smaller one, such as")]
)
def test_a_linf_radius_above_1_is_rejected(radius: float, cure: str) -> None:
    with pytest.raises(PurebenchError, match="any image can become any other") as caught:
        ThreatModel("linf", radius).check_shape((1, 2, 2))
    assert cure in str(caught.value)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_largest_radius_is_the_distance_from_black_to_white(norm: str) -> None:
    x = torch.zeros(1, 3, 5, 2)
    most = largest_radius(norm, (3, 5, 2))
    threat = ThreatModel(norm, most)
    assert threat.size(torch.ones_like(x)).item() == pytest.approx(most, rel=1e-6)
    threat.check_shape((3, 5, 2))
    with pytest.raises(PurebenchError, match=f"at most .* for {norm} and images of .3, 5, 2. in .0,1., but got"):
        ThreatModel(norm, most * 1.001).check_shape((3, 5, 2))
