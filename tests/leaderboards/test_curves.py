"""Tests drawings of curves: paths agree with the estimates for any number of images and defenses."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purebench.core.threat import ThreatModel
from purebench.leaderboards.charts.curves import COLOURS, OVERLAID, SINGLE, line, overlaid, scale, single
from purebench.results.distances import NearestDistances
from purebench.statistics import clopper_pearson, security_curve

LINF = ThreatModel("linf", 16 / 255)
DISTANCES = st.lists(st.none() | st.floats(0, 0.2), min_size=1, max_size=60)


def found(*distances):
    return NearestDistances(tuple(distances), ("fmn",), distances.count(None), 0, 0)


def points(path):
    return [tuple(map(float, pair.split())) for pair in re.split("[ML]", path.rstrip("Z"))[1:]]


def height(path, x):
    """Returns the height of the steps at x: that of the last corner that is not to the right of x."""
    return [y for left, y in points(path) if left <= x][-1]


@given(distances=DISTANCES)
@settings(max_examples=40)
def test_the_drawn_steps_agree_with_the_security_curve(distances):
    common = scale(LINF, "16/255", [found(*distances)])
    drawn = line("one", found(*distances), 0.95, common, SINGLE)
    corners = points(drawn.path)
    assert corners[0][0] == SINGLE.x(0)
    assert corners[-1][0] == SINGLE.x(1)
    assert [x for x, _ in corners] == sorted(x for x, _ in corners)
    assert [y for _, y in corners] == sorted(y for _, y in corners)  # y points downwards: accuracy never rises
    for share in (0.0, 0.31, 0.62, 0.93):
        around = [common.limit * max(0.0, share + by) for by in (-0.002, 0.002)]
        high, low = (SINGLE.y(point.value) for point in security_curve(distances, around))
        assert high - 0.06 <= height(drawn.path, SINGLE.x(share)) <= low + 0.06


def test_the_band_is_bounded_by_the_ends_of_the_intervals():
    common = scale(LINF, "16/255", [])
    drawn = line("one", found(0.02, 0.02, 0.04, None), 0.9, common, SINGLE)
    corners = points(drawn.band)
    start, half = clopper_pearson(4, 4, 0.9), clopper_pearson(1, 4, 0.9)
    assert drawn.band.endswith("Z")
    assert corners[0] == pytest.approx((SINGLE.x(0), SINGLE.y(start.high)), abs=0.06)
    assert corners[-1] == pytest.approx((SINGLE.x(0), SINGLE.y(start.low)), abs=0.06)
    ends = [y for x, y in corners if x == SINGLE.x(1)]
    assert (min(ends), max(ends)) == pytest.approx((SINGLE.y(half.high), SINGLE.y(half.low)), abs=0.06)


def test_the_marked_point_is_the_accuracy_at_the_radius_of_the_threat():
    common = scale(LINF, "16/255", [])
    drawn = line("one", found(0.02, LINF.radius, 0.08, None), 0.95, common, SINGLE)
    assert drawn.at == clopper_pearson(2, 4)
    assert drawn.point == pytest.approx((SINGLE.x(2 / 3), SINGLE.y(0.5)), abs=0.06)
    assert drawn.median == f"{255 * (LINF.radius + 0.08) / 2:.1f}/255"


@pytest.mark.parametrize(
    ("threat", "distances", "labels"),
    [
        (LINF, [], ["0", "4", "8", "12", "16", "20", "24"]),
        (LINF, [0.1] * 20, ["0", "4", "8", "12", "16", "20", "24"]),
        (LINF, [0.2] * 20, ["0", "8", "16", "24", "32", "40", "48"]),
        (LINF, [0.05] * 19 + [0.9], ["0", "4", "8", "12", "16", "20", "24"]),  # one of twenty is an outlier
        (ThreatModel("l2", 0.5), [1.0], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (ThreatModel("l1", 12.0), [30.0], ["0", "5", "10", "15", "20", "25", "30"]),
        (ThreatModel("l2", 300.0), [], ["0", "64.3", "129", "193", "257", "321", "386", "450"]),
    ],
)
def test_the_scale_includes_the_radius_and_most_distances(threat, distances, labels):
    common = scale(threat, "", [found(*distances)] if distances else [])
    assert [label for _, label in common.ticks] == labels
    assert common.limit >= 1.5 * threat.radius
    assert common.ticks[-1][0] <= common.limit * (1 + 1e-9)


def test_a_chart_has_a_title_and_a_summary_for_screen_readers():
    common = scale(LINF, "16/255", [])
    chart = single("defense-one", "one", found(0.02, 0.08, 0.08, None), 0.95, common)
    assert chart.title == "Accuracy of one against radius"
    assert chart.summary == (
        f"At radius 0: {clopper_pearson(4, 4).percent()}. "
        f"At the threat's radius 16/255: {clopper_pearson(3, 4).percent()}. Median distance: 20.4/255."
    )
    beyond = single("defense-one", "one", found(None, None, 0.1), 0.95, common)
    assert beyond.summary.endswith("Median distance: ∞.")


def test_curves_are_overlaid_for_two_or_more_defenses():
    common = scale(LINF, "16/255", [])
    one = found(0.02, None)
    assert overlaid({}, 0.95, common) is None
    assert overlaid({"one": one}, 0.95, common) is None
    chart = overlaid({"one": one, "two": found(0.1, 0.1)}, 0.95, common)
    assert [drawn.name for drawn in chart.lines] == ["one", "two"]
    assert "one: At the threat's radius 16/255: 50.0 %" in chart.summary
    assert chart.frame == OVERLAID


def test_all_of_many_lines_have_different_styles():
    common = scale(LINF, "16/255", [])
    chart = overlaid({f"d{i}": found(0.01 * i) for i in range(3 * COLOURS)}, 0.95, common)
    styles = [drawn.style for drawn in chart.lines]
    assert len(set(styles)) == 3 * COLOURS
    assert styles[0] == "series-0 dash-0"


def test_the_drawing_of_a_thousand_images_is_small():
    many = replace(found(), distances=tuple(i / 10_000 for i in range(1000)))
    drawn = line("one", many, 0.95, scale(LINF, "", [many]), SINGLE)
    assert len(drawn.path) < 40_000
