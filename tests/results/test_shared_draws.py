"""Tests that results whose images share draws have wide intervals, and are in no comparison by image."""

from dataclasses import replace

import pytest

from purebench.core.answers import ImageTruth
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import ResultWarning, WarningCode
from purebench.leaderboards.charts.draws import draw_chart, loss, noise
from purebench.results.grading.convergence import convergence
from purebench.results.grading.evidence import ConvergenceStatus, Recovery
from purebench.results.grading.failure_indicators import failure_indicators
from purebench.results.ranking.comparisons import Side, comparisons
from purebench.results.ranking.rank import rank, ranked_results
from purebench.statistics.intervals.shared_draws import METHOD, shared_draws_interval

from ladders import ladder_results  # isort: skip
from scored_controls import EXACT, control, scores  # isort: skip

SHARED = ResultWarning(WarningCode.SHARED_DRAWS, "one choice a call")
FALLS = {"random-noise": 10, "rung-1": 45, "rung-2": 50, "rung-3": 50, "rung-4": 50, "square": 30}


def sharing(result):
    """The same result of a defense that makes one random choice for all images of a call."""
    return replace(result, attacks=tuple(replace(attack, warnings=(SHARED,)) for attack in result.attacks))


@pytest.fixture
def noisy(build):
    clean = ["1111", "1110", "1111", "0111"]
    _, _, (found,) = build.results({"noisy": {"clean": clean, "apgd": ["0011", "0000", "1011", "0101"]}})
    return found


def test_the_intervals_are_those_over_images_and_draws(noisy):
    found = sharing(noisy)
    assert (noisy.shares_draws, found.shares_draws) == (False, True)
    assert found.robust == shared_draws_interval(found.fresh)
    assert found.robust.method == METHOD
    assert found.robust.value == noisy.robust.value
    assert found.clean == shared_draws_interval(found.right(found.attacks[0]))
    assert noisy.bracket is not None
    assert found.bracket is None
    assert not replace(found, random=False).shares_draws


def test_there_is_a_position_but_no_interval_of_the_rank(noisy):
    other = replace(noisy, name="other")
    rows = {row.name: row for row in rank([sharing(noisy), other])}
    assert rows["noisy"].rank is not None
    assert rows["noisy"].ranks is None
    assert rows["noisy"].shares is None
    assert rows["other"].ranks.images == 4
    assert ranked_results([sharing(noisy), other]) == [other]


def test_comparisons_by_image_are_refused(noisy):
    pair = (Side("shared", sharing(noisy)), Side("noisy", noisy))
    for attack in (None, "apgd"):
        with pytest.raises(PurebenchError, match="all images of a call share a random choice"):
            comparisons([pair], attack=attack)


def test_charts_whose_intervals_need_independent_draws_are_left_out(noisy):
    for made in (draw_chart("a", sharing(noisy)), noise(sharing(noisy)), loss(sharing(noisy))):
        assert made is None
    assert noise(noisy) is not None
    assert loss(noisy) is not None


def test_the_convergence_is_undecided_and_gives_no_warning():
    own, climbed = ladder_results(FALLS | {"transfer": 80}, draws=4)
    assert failure_indicators(own, climbed)
    found = convergence(sharing(own), climbed)
    assert (found.status, found.needs) == (ConvergenceStatus.UNDECIDED, 0)
    assert "share a random choice" in found.reason
    assert failure_indicators(sharing(own), climbed) == ()


def test_a_control_is_undecided_and_has_wide_intervals():
    answers = {"clean": ["1111"] * 8, "apgd": ["1100"] * 4 + ["0000"] * 4}
    found = control(answers, [ImageTruth(0.25, 0.25)] * 8, EXACT)
    (alone,) = scores([found])
    (shared,) = scores([sharing(found)])
    assert (shared.recovery, shared.recovery_without_transfer) == (Recovery.UNDECIDED, Recovery.UNDECIDED)
    assert shared.measured == shared_draws_interval(found.fresh)
    assert shared.measured.value == alone.measured.value == 0.25
    assert shared.excess.value == pytest.approx(0)
    assert shared.excess.low < alone.excess.low < alone.excess.high < shared.excess.high
    assert all((one.low, one.high) == (0, 1) for one in shared.by_attack_kind.values())
