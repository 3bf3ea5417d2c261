"""Tests the outcome of a sweep as a file, a table and a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from purebench.checks.sweeps import picture
from purebench.checks.sweeps.markdown import markdown_table
from purebench.checks.sweeps.outcome import SweepOutcome
from purebench.core.errors import PurebenchError


def test_an_outcome_is_read_back_and_another_choice_than_that_of_the_rule_is_refused(outcome: SweepOutcome) -> None:
    assert SweepOutcome.from_json(outcome.to_json()) == outcome
    changed = json.loads(outcome.to_json())
    changed["families"][0]["choice"]["reason"] = "the words of another version"
    assert SweepOutcome.from_json(json.dumps(changed)).families[0].choice.reason == "the words of another version"
    changed["families"][0]["choice"]["place"] = 0
    with pytest.raises(PurebenchError, match=r"choice: expected the strength that the rule chooses"):
        SweepOutcome.from_json(json.dumps(changed))
    with pytest.raises(PurebenchError, match="schema"):
        SweepOutcome.from_json(json.dumps({**changed, "schema": 2}))


def test_the_numbers_can_be_replayed_from_the_scores(outcome: SweepOutcome) -> None:
    for point in outcome.families[0].points:
        assert point.robust is not None
        assert np.mean(point.robust_scores) == point.robust.value


def test_the_picture_has_a_panel_for_each_family_and_one_for_the_radii(outcome: SweepOutcome, tmp_path: Path) -> None:
    picture.draw(outcome, tmp_path / "sweep.svg")
    assert (tmp_path / "sweep.svg").read_text(encoding="utf-8").count('id="axes_') == 2


def test_points_are_drawn_at_clean_and_robust_accuracy_with_their_intervals(outcome: SweepOutcome) -> None:
    (family,) = outcome.families
    axes = Figure().subplots()
    picture._family(axes, outcome, family)
    drawn = {(float(c.lines[0].get_xdata()[0]), float(c.lines[0].get_ydata()[0])) for c in axes.containers}
    assert drawn == {(100 * one.clean.value, 100 * one.robust.value) for one in family.points}
    assert [c.lines[0].get_marker() for c in axes.containers] == ["o", "o", "o", "*"]
    across, up = axes.containers[3].lines[2]
    (segment,), (other,) = across.get_segments(), up.get_segments()
    assert segment[:, 0] == pytest.approx([100 * family.points[3].clean.low, 100 * family.points[3].clean.high])
    assert other[:, 1] == pytest.approx([100 * family.points[3].robust.low, 100 * family.points[3].robust.high])


def test_the_markdown_table_has_the_chosen_strength_and_the_further_radii(outcome: SweepOutcome) -> None:
    head, rule, line = (text.strip("| ").split(" | ") for text in markdown_table(outcome).splitlines())
    chosen = outcome.families[0].points[3]
    assert head[-2:] == ["robust at 0.02", "robust at 0.3"]
    assert rule == ["---"] * len(head)
    assert line[1:4] == ["t=0.5", "t=1.0", chosen.robust.percent()]
    assert line[4].startswith(f"{100 * chosen.clean_loss.value:.1f} [")
    assert line[-1] == "0.0 %"
    none = replace(outcome.families[0], choice=None, points=(), contrasts=(), radii=())
    assert "| none | – |" in markdown_table(replace(outcome, families=(none,)))
    beyond = replace(outcome.families[0], choice=replace(outcome.families[0].choice, within=False))
    assert "| t=1.0 * |" in markdown_table(replace(outcome, families=(beyond,)))
