"""Tests that intervals computed for many counts at once are those of each count, bit for bit."""

import numpy as np
import pytest

from purebench.statistics.intervals.proportions import clopper_pearson, clopper_pearson_table


@pytest.mark.parametrize("n", [1, 2, 7, 48, 1_000])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_a_table_of_clopper_pearson_has_the_interval_of_each_count(n, confidence):
    counts = np.arange(n + 1)
    assert clopper_pearson_table(counts, n, confidence) == [clopper_pearson(int(k), n, confidence) for k in counts]


def test_a_table_rejects_counts_outside_of_its_range():
    for counts, n in (([-1, 2], 5), ([0, 6], 5), ([0], 0)):
        with pytest.raises(ValueError, match="expected"):
            clopper_pearson_table(np.array(counts), n)
    assert clopper_pearson_table(np.array([], dtype=np.int64), 5) == []
