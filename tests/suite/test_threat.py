"""Radii as people write them, and what is refused."""

from __future__ import annotations

import pytest

from purebench.errors import PurebenchError
from purebench.threat import ThreatModel, parse_radius


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("16 / 255", 16 / 255), ("0.03", 0.03), (2, 2)])
def test_a_radius_is_a_fraction_or_a_number(text: str | float, value: float) -> None:
    assert parse_radius(text) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize("text", ["0", "-1/255", "8/0", "eight", "", "nan", "inf", 0, -0.1, float("nan"), None, [1]])
def test_other_radii_are_refused_in_a_line(text: object) -> None:
    with pytest.raises(PurebenchError, match="radius") as caught:
        parse_radius(text)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_unknown_norm_names_the_nearest() -> None:
    with pytest.raises(PurebenchError, match="linf"):
        ThreatModel("linff", 0.1)
