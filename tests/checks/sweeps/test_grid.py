"""Tests the expansion of values in braces."""

from __future__ import annotations

import pytest

from purebench.checks.sweeps.grid import MOST_STRENGTHS, family
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec


def texts(text: str) -> list[str]:
    return [one.text for one in family("f", text).strengths]


def test_all_combinations_are_made_in_the_order_of_the_values() -> None:
    found = family("f", "diffpure(t={50, 100}, steps=4, sampler={ddpm,ddim})")
    assert [one.text for one in found.strengths] == [
        "diffpure(t=50, steps=4, sampler=ddpm)",
        "diffpure(t=50, steps=4, sampler=ddim)",
        "diffpure(t=100, steps=4, sampler=ddpm)",
        "diffpure(t=100, steps=4, sampler=ddim)",
    ]
    assert found.strengths[2].values == {"t": "100", "sampler": "ddpm"}
    assert found.strengths[2].label == "t=100, sampler=ddpm"


def test_a_defense_without_braces_has_one_strength_that_is_named_by_its_spec() -> None:
    (one,) = family("f", "trades").strengths
    assert (one.text, one.values, one.label) == ("trades", {}, "trades")


def test_values_may_be_lists_and_braces_may_be_inside_a_nested_spec() -> None:
    assert texts("mlvgm-hvae(schedule={[0.1, 0.2], cosine})") == [
        "mlvgm-hvae(schedule=[0.1, 0.2])",
        "mlvgm-hvae(schedule=cosine)",
    ]
    nested = texts("before(purifier='diffpure(t={50, 100})', classifier=fashion-trades)")
    assert [Spec.parse(text).params["purifier"] for text in nested] == ["diffpure(t=50)", "diffpure(t=100)"]


def test_braces_of_a_mapping_are_no_values() -> None:
    assert texts("diffpure(t={50, 100}, architecture={'width': 8, 'depth': 2})") == [
        "diffpure(t=50, architecture={'width': 8, 'depth': 2})",
        "diffpure(t=100, architecture={'width': 8, 'depth': 2})",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("blur(sigma={1})", "at least two different values in the braces of sigma"),
        ("blur(sigma={1, 1})", "at least two different values"),
        ("blur(sigma={1, })", "at least two different values"),
        ("blur(sigma={1, 2)", "braces that are closed"),
        ("blur({1, 2})", "braces as the value of a parameter"),
        ("blur(sigma={1, 2}, sigma={3, 4})", "one list of values for sigma"),
        ("blur(sigma={1, 2}", "expected name or name"),
        (f"blur(a={{{', '.join(map(str, range(9)))}}}, b={{{', '.join(map(str, range(8)))}}})", "but got 72; remove"),
    ],
)
def test_faults_are_told_with_the_cure(text: str, told: str) -> None:
    with pytest.raises(PurebenchError, match=r"^f: ") as caught:
        family("f", text)
    assert told in str(caught.value)


def test_a_huge_product_is_refused_before_it_is_made() -> None:
    braces = ", ".join(f"{name}={{{', '.join(map(str, range(50)))}}}" for name in "abcdefgh")
    with pytest.raises(PurebenchError, match=rf"at most {MOST_STRENGTHS} combinations .* got 39,062,500,000,000;"):
        family("f", f"blur({braces})")
