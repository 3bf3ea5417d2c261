"""Tests of `purebench interval` on counts and on a file of values, against the statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.statistics import APPROXIMATE, IN_ORDER, METHODS, interval


def call(*words: object) -> Result:
    return CliRunner().invoke(app, ["interval", *map(str, words)])


def test_the_default_methods_are_those_of_a_board(tmp_path: Path) -> None:
    found = call("43/50")
    assert found.stdout.splitlines() == ["clopper-pearson  86.0 % [73.3, 94.2]", "95 % confidence, 50 images"]
    values = tmp_path / "values.txt"
    values.write_text("1\n0.5\n\n12/16\n1\n0\n", encoding="utf-8")
    expected = interval([1, 0.5, 0.75, 1, 0], "gaffke", 0.9).percent()
    assert call(values, "--confidence", 0.9).stdout.splitlines() == [f"gaffke  {expected}", "90 % confidence, 5 images"]


@pytest.mark.parametrize("method", [*METHODS, *APPROXIMATE])
def test_every_method_is_available(method: str, tmp_path: Path) -> None:
    values = [1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]
    path = tmp_path / "values.txt"
    path.write_text("\n".join(map(str, values)), encoding="utf-8")
    expected = f"{method}  {interval(values, method).percent()}"
    assert call(path, "--method", method).stdout.splitlines()[0] == expected
    counted = call("5/7", "--method", method)
    if method in IN_ORDER:
        assert isinstance(counted.exception, PurebenchError)
        assert "depends on the order of the images" in str(counted.exception)
    else:
        assert counted.stdout.splitlines()[0] == expected


def test_in_order_lists_the_methods_that_depend_on_the_order() -> None:
    values = [1.0] * 30 + [0.0] * 30
    assert {name for name in METHODS if interval(values, name) != interval(values[::-1], name)} == IN_ORDER


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["51/50"], "expected at most as many right answers as images, and at least 1 image, but got 51/50"),
        (["0/0"], "expected at most as many right answers as images, and at least 1 image"),
        (["0.5"], "expected right answers among a number of images, such as 43/50, or a file"),
        (["86%"], "but got the number 86%"),
        (["nowhere.txt"], "nowhere.txt: cannot be read"),
        (["43/50", "-m", "wald"], "expected method to be one of agresti-coull"),
        (["43/50", "--confidence", "95"], "--confidence: expected a number between 0 and 1"),
    ],
)
def test_invalid_input_is_rejected(words: list[str], message: str) -> None:
    assert message in str(call(*words).exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\nright", "line 2: expected a number in [0,1] or right draws such as 12/16, but got 'right'"),
        ("1\n1/0", "line 2: expected a number"),
        ("86", "expected values in [0,1], but got 86.0 for image 0"),
        ("\n", "expected a value in [0,1] for each image, one per line, but got an empty file"),
    ],
)
def test_invalid_files_are_rejected(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "values.txt"
    path.write_text(text, encoding="utf-8")
    assert message in str(call(path).exception)
