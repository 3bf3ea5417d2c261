"""The words decide the numbers; the caller's generators are left as they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from purebench.core.seeds import seed_of, seeded


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_the_same_words_give_the_same_numbers_and_others_others() -> None:
    with seeded("a", "b"):
        first = draws()
    with seeded("a", "b"):
        second = draws()
    with seeded("a", "c"):
        third = draws()
    assert first == second
    assert all(one != other for one, other in zip(first, third, strict=True))


def test_words_do_not_run_together() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")


@pytest.mark.parametrize("fails", [False, True])
def test_the_callers_state_is_restored(fails: bool) -> None:
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
