"""Tests that the words determine the random numbers and that the caller's generators are restored."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from purebench.core.seeds import seed_of, seeded


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_same_words_give_the_same_numbers_and_other_words_different_ones() -> None:
    with seeded("a", "b"):
        first = draws()
    with seeded("a", "b"):
        second = draws()
    with seeded("a", "c"):
        third = draws()
    assert first == second
    assert all(one != other for one, other in zip(first, third, strict=True))


def test_the_seed_depends_on_the_boundaries_between_words() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")


@pytest.mark.parametrize("fails", [False, True])
def test_the_generators_of_the_caller_are_restored(fails: bool) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = draws()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    try:
        with seeded("x"):
            draws()
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert draws() == expected
