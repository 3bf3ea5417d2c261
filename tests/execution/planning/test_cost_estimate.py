"""Tests of the cost forecast against a run, and of expected intervals and detectable differences."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.cli.commands.plan import _points
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.execution.planning.cost_estimate import expected_half_widths, forecast
from purebench.records.outcome import WORST_CASE
from purebench.statistics import clopper_pearson, gaffke, mcnemar_power, smallest_difference

from boards import write_board  # isort: skip


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    attacks = {
        "clean": {"use": "clean"},
        "apgd": {"use": "apgd(steps=4)", "gradient": "exact", "eot": 2, "only": "random"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "clean"}},
    }
    return load_board(write_board(tmp_path_factory.mktemp("board"), images=8, block=4, attacks=attacks))


def test_the_forecast_agrees_with_a_run(board: Board, tmp_path: Path) -> None:
    prices = {(price.defense, price.attack): price for price in forecast(prepare(board), budget=60)}
    _, records = run_board(board, tmp_path / "s", workers=1)
    assert len(prices) == 9 + 3
    for (defense, attack), price in prices.items():
        was = [record for record in records if (record.defense, record.attack) == (defense, attack)]
        assert price.measured
        if (defense, attack) == ("none", "transfer"):
            continue  # a row does not transfer its own images; the forecast measures it with other ones
        assert price.skipped == all(outcome == "skipped" for record in was for outcome in record.outcomes)
        assert 8 * price.forwards == pytest.approx(sum(record.forwards for record in was), rel=0.5)
        assert 8 * price.backwards == pytest.approx(sum(record.backwards for record in was), rel=0.5)
    predicted = 8 * sum(price.seconds for price in prices.values())
    actual = sum(sum(record.seconds.values()) for record in records)
    assert actual / 20 < predicted < 20 * actual  # wide, for a busy machine; the benchmark has a strict limit


def test_without_a_budget_costs_are_copied_from_rows_of_the_same_kind(board: Board) -> None:
    prices = forecast(prepare(board), budget=0)
    measured = {(price.defense, price.attack) for price in prices if price.measured and price.attack != WORST_CASE}
    assert {attack for defense, attack in measured if defense == "none"} == {"clean", "apgd", "transfer"}
    copied = [price for price in prices if not price.measured and price.attack != WORST_CASE]
    assert {price.defense for price in copied} <= {"noise", "coin"}
    assert len(copied) >= 2
    by = {(price.defense, price.attack): price for price in prices}
    for price in copied:
        other = by["coin" if price.defense == "noise" else "noise", price.attack]
        assert (price.forwards, price.backwards) == (other.forwards, other.backwards)
        assert price.seconds > 0


def test_expected_half_widths_are_those_of_the_intervals() -> None:
    fixed, random = expected_half_widths(200, 0.3, 0.95)
    assert fixed == clopper_pearson(60, 200).half_width
    assert random == pytest.approx(gaffke(np.repeat([1.0, 0.0], [60, 140])).half_width)
    sequence, same = expected_half_widths(200, 0.3, 0.95, anytime=True)
    assert sequence == same > random


def test_the_smallest_difference_has_the_requested_power() -> None:
    for images, discordant, comparisons in ((100, 0.25, 1), (500, 0.4, 10)):
        d = smallest_difference(images, discordant, 0.8, comparisons=comparisons)
        assert mcnemar_power(images, d, discordant, 0.05 / comparisons) == pytest.approx(0.8, abs=0.001)
    assert smallest_difference(2, 0.1) == math.inf
    with pytest.raises(ValueError, match="a share in"):
        smallest_difference(10, 0.0)


def test_plan_prints_costs_and_expected_intervals(board: Board, tmp_path: Path) -> None:
    path = write_board(tmp_path, images=8, block=4, attacks={"clean": {"use": "clean"}})
    done = CliRunner().invoke(app, ["plan", str(path), "--budget", "5", "--workers", "2"])
    assert done.exit_code == 0, done.exception
    text = " ".join(done.output.split())
    # For each of 8 images: 1 draw of `none`, 6 of `noise` and of `coin`; then 1, 32 and 32 fresh draws.
    assert "12 jobs, 624 forwards and 0 backwards" in text
    assert "intervals to expect of 8 images at 95 %" in text
    detected = r"two rows chosen beforehand [\d.]+ points or more all 3 pairs [\d.]+ points or more"
    assert re.search(detected, text)
    assert _points(math.inf) == "none: there are too few images"
    done = CliRunner().invoke(app, ["plan", str(path), "--until", "half-width=0.2", "--budget", "5", "-d", "none"])
    assert "at most: the run stops as soon as every interval is ± 20 points" in " ".join(done.output.split())
    assert "detectable difference: none, because it needs two rows, and this plan has one" in done.output
    assert isinstance(CliRunner().invoke(app, ["plan", "fashion-quik"]).exception, PurebenchError)


def test_plan_explains_rows_that_are_only_sources(tmp_path: Path) -> None:
    attacks = {
        "apgd": {"use": "apgd(steps=1)", "gradient": "exact"},
        "transfer": {"use": "transfer", "source": {"defense": "none", "attack": "apgd"}},
    }
    path = write_board(tmp_path, images=4, attacks=attacks, defenses={"none": "none", "blur": "gaussian-blur(sigma=1)"})
    words = ["plan", str(path), "--budget", "0", "-d", "blur"]
    text = " ".join(CliRunner().invoke(app, words, env={"COLUMNS": "160"}).output.split())
    assert "none (only source)" in text
    assert "reuse the adversarial examples of none, which is run only as far as they need it, and is not ranked" in text
