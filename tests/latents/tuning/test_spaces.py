"""Tests lists of alphas: those of the paper, and increasing curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purebench.core.errors import PurebenchError
from purebench.defenses.mlvgm.alpha_spaces import DIGITS, SPACES, cosine, find_space, linear, paper_seeds, rounded
from purebench.defenses.mlvgm.schedules import SCHEDULES
from purebench.latents.tuning.finalists import baselines

share = st.floats(0, 1)


@pytest.mark.parametrize("n", [1, 8, 24])
def test_linear_cosine_and_constant_equal_the_schedules_of_the_purifiers(n):
    assert linear(n) == pytest.approx(SCHEDULES["linear"](n))
    assert cosine(n) == pytest.approx(SCHEDULES["cosine"](n))
    for base in baselines(n):
        assert list(base.alphas) == pytest.approx(SCHEDULES[base.name](n), abs=10**-DIGITS)


def test_the_search_of_the_paper_starts_from_its_five_lists():
    seeds = SPACES["full"].seeds(4)
    assert list(seeds) == ["cosine", "linear", "half", "1-linear", "1-cosine"]
    assert seeds["cosine"] == pytest.approx((0.1464466, 0.5, 0.8535534, 1.0))
    assert seeds["1-cosine"] == pytest.approx((0.8535534, 0.5, 0.1464466, 0.0))
    assert seeds["1-linear"] == pytest.approx((0.75, 0.5, 0.25, 0.0))
    assert SPACES["full"].at(paper_seeds(4)["half"], 4) == [0.5] * 4


@given(name=st.sampled_from(["power", "sigmoid"]), point=st.tuples(share, share, share), n=st.integers(1, 30))
def test_curves_are_increasing_within_0_and_1(name, point, n):
    space = SPACES[name]
    found = space.at(point[: len(space.axes(n))], n)
    assert len(found) == n
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] <= 1


def test_seeds_of_curves_agree_with_their_names():
    powers = SPACES["power"].seeds(5)
    for name, exponent in (("linear", 1), ("square", 2), ("cube root", 1 / 3)):
        assert SPACES["power"].alphas(powers[name], 5) == pytest.approx((np.arange(1, 6) / 5) ** exponent)
    sigmoids = SPACES["sigmoid"].seeds(6)
    assert SPACES["sigmoid"].alphas(sigmoids["half"], 6) == pytest.approx([0.5] * 6)
    assert SPACES["sigmoid"].at(sigmoids["step"], 6) == pytest.approx([0, 0, 0, 1, 1, 1], abs=0.04)
    assert SPACES["sigmoid"].at(sigmoids["like cosine"], 8) == pytest.approx(cosine(8), abs=0.14)


def test_rounded_alphas_can_be_written_without_loss():
    found = rounded(np.random.default_rng(0).random(20))
    assert [float(f"{alpha:.{DIGITS}f}") for alpha in found] == found


def test_an_unknown_space_is_rejected_with_the_nearest_name():
    with pytest.raises(PurebenchError, match="did you mean 'sigmoid'"):
        find_space("sigmiod")
