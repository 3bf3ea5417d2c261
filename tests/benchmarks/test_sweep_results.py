"""Tests that committed sweeps are those of their files, follow from their own numbers, and are shown in the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.checks.finding import CheckStatus
from purebench.checks.sweeps.definition import read_sweep
from purebench.checks.sweeps.markdown import markdown_table
from purebench.checks.sweeps.outcome import SweepOutcome
from purebench.checks.sweeps.sweep_board import sweep_board
from purebench.results.merge import header_of
from purebench.statistics import interval, paired_difference

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BOARDS = sorted(path.stem.removeprefix("sweep-") for path in RESULTS.glob("sweep-*.json"))


@pytest.fixture(scope="module", params=BOARDS)
def outcome(request: pytest.FixtureRequest) -> SweepOutcome:
    """The committed results of a board, which are read only if each choice is that of the rule."""
    return SweepOutcome.from_json((RESULTS / f"sweep-{request.param}.json").read_text(encoding="utf-8"))


def test_there_are_sweeps() -> None:
    assert "fashion-families" in BOARDS


def test_it_has_the_board_and_the_strengths_of_the_file(outcome: SweepOutcome) -> None:
    path = bundled()[outcome.board]
    sweep = read_sweep(path.with_name("sweep.yaml"))
    sweep = sweep.only([one.name for one in outcome.families])
    assert outcome.settings == json.loads(json.dumps(header_of(sweep_board(load_board(path), sweep))))
    assert [(one.name, one.defense) for one in outcome.families] == [(one.name, one.text) for one in sweep.families]
    for found, family in zip(outcome.families, sweep.families, strict=True):
        assert [point.spec for point in found.points] == [one.text for one in family.strengths]
        assert len(found.points) >= 4
        assert {one.written for one in found.radii} == {*sweep.radii, outcome.radius_text}
    assert len(outcome.images) >= 64
    assert not outcome.errored


def close(value: Any) -> Any:
    return pytest.approx(value, rel=1e-12) if isinstance(value, float) else value


def test_every_estimate_is_that_of_the_scores_of_the_images(outcome: SweepOutcome) -> None:
    for point in (point for family in outcome.families for point in family.points):
        for one, scores in ((point.robust, point.robust_scores), (point.clean, point.clean_scores)):
            expected = interval(scores, one.method, 0.95).to_dict()  # the last digits depend on the processor
            assert one.to_dict() == {key: close(value) for key, value in expected.items()}
        assert point.clean_loss.value == pytest.approx(outcome.undefended.value - point.clean.value)
    family = outcome.families[0]
    for contrast in family.contrasts:
        other = next(point for point in family.points if point.label == contrast.label)
        found = paired_difference(other.robust_scores, family.chosen.robust_scores)
        assert contrast.difference == found


def test_no_curve_over_the_radius_rises(outcome: SweepOutcome) -> None:
    assert all(check.result is not CheckStatus.FAILS for family in outcome.families for check in family.checks)


def test_the_docs_show_its_table_and_picture(outcome: SweepOutcome) -> None:
    page = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    assert markdown_table(outcome) in page
    picture = f"sweep-{outcome.board}.png"
    assert f"({picture})" in page
    assert (ROOT / "docs" / picture).read_bytes()[:4] == b"\x89PNG"
