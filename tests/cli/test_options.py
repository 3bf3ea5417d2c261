"""Tests of the options that have the same meaning in several commands."""

from __future__ import annotations

import math

import pytest
from typer.testing import CliRunner

from purebench.cli.main import app
from purebench.cli.options import in_minutes, in_seconds
from purebench.core.errors import PurebenchError
from purebench.integrations.robustbench import command


@pytest.mark.parametrize(
    ("text", "minutes"), [("10", 10), ("90s", 1.5), ("10m", 10), ("10 min", 10), ("2h", 120), ("0.5", 0.5)]
)
def test_a_time_limit_has_a_unit_or_that_of_its_option(text: str, minutes: float) -> None:
    assert in_minutes("--minutes")(text) == pytest.approx(minutes)
    unit = 60 if text[-1].isdigit() else 1
    assert in_seconds("--seconds")(text) == pytest.approx(60 * minutes / unit)


@pytest.mark.parametrize("text", ["soon", "10 days", "", "m", "1:30"])
def test_anything_else_is_rejected(text: str) -> None:
    with pytest.raises(PurebenchError, match="--minutes: expected a duration such as 90s, 10m or 2h, but got"):
        in_minutes("--minutes")(text)


def test_a_limit_that_is_not_finite_is_passed_on_to_the_command() -> None:
    assert math.isnan(in_seconds("--seconds")("nan"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["try", "none", "--seconds", "soon"], "--seconds: expected a duration"),
        (["try", "none", "--seconds", "0m"], "--seconds: expected a number above 0"),
        (["plan", "fashion-quick", "--budget", "-1s"], "--budget: expected a time of at least 0 s"),
        (["check", "none", "--minutes", "-1h"], "--minutes: expected a number above 0"),
        (["tune", "mlvgm-hvae", "--minutes", "nan"], "--minutes: expected a time of at least 0"),
        (["train", "fashion-vae", "--minutes", "soon"], "--minutes: expected a duration"),
    ],
)
def test_commands_reject_an_invalid_time_limit(words: list[str], message: str) -> None:
    assert message in str(CliRunner().invoke(app, words).exception)


@pytest.mark.parametrize("words", [["--threat", "Linf"], ["--norm", "linf"], ["--norm", "LINF", "--eps", "8/255"]])
def test_robustbench_accepts_our_names_of_norm_and_radius(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(command, "command", lambda model, **options: given.update(options))
    done = CliRunner().invoke(app, ["robustbench", "Standard", "--models", "models", *words])
    assert done.exit_code == 0, done.output
    assert given["threat_model"] == "Linf"
    assert given["eps"] == (8 / 255 if "--eps" in words else None)
