"""Tests the intervals of the shares of images on boards with and without a stopping rule."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from purebench.results.files.export import load_result
from purebench.results.ranking.rank import shares_of_images
from purebench.statistics import clopper_pearson, interval

FOUND = load_result(Path("leaderboards/boards/fashion-quick/results/mlvgm-cosine.json"))
NAMES = ("nearly_always", "majority", "nearly_never")


def indicators() -> dict[str, list[bool]]:
    share = FOUND.fresh.mean(axis=1)
    return dict(zip(NAMES, ((share >= 0.95).tolist(), (share > 0.5).tolist(), (share <= 0.05).tolist()), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_interval_is_exact_and_with_a_stopping_rule_that_of_a_sequence(name: str) -> None:
    each = indicators()[name]
    fixed = getattr(shares_of_images(FOUND), name)
    assert fixed == clopper_pearson(sum(each), len(each), FOUND.board["confidence"])
    stopped = getattr(shares_of_images(replace(FOUND, board={**FOUND.board, "stop": {"half_width": 0.2}})), name)
    assert stopped == interval(np.array(each, dtype=float), "betting-sequence", FOUND.board["confidence"])
    assert stopped.method == "betting-sequence"
    assert stopped.value == fixed.value
    assert stopped.low <= fixed.low
    assert stopped.high >= fixed.high
