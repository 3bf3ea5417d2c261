"""Tests of the cost in purifier passes per image: forwards + 2·backwards, by hand and where it is shown."""

import csv
import io

import pytest

from purebench.leaderboards.charts.frame import of_attacks, of_defenses
from purebench.leaderboards.figures_text import figure_notes, passes_text
from purebench.leaderboards.table_files import attacks_comma_separated, comma_separated
from purebench.records.outcome import Outcome
from purebench.results.figures.passes import MEANING, passes_per_image
from purebench.results.ranking.rank import rank

S = Outcome.SKIPPED


@pytest.fixture
def row(build):
    """Each image of an attack costs 10 forwards and 5 backwards (clean: none), in the builders of records."""
    answers = {"clean": ["1111"] * 4, "apgd": ["0011", "0000", S, S], "square": [S] * 4}
    _, _, results = build.results({"noisy": answers})
    return rank(results)[0]


def test_a_backward_pass_counts_as_two_and_the_divisor_is_the_attacked_images(row):
    found = passes_per_image(row.result)
    assert found.attacks == (("clean", 10.0), ("apgd", 20.0), ("square", None))
    assert found.picking == 0
    assert found.total == (4 * 10 + 2 * 20) / 4


def test_the_cost_is_shown_per_row_and_attack(row):
    notes = figure_notes([row])
    assert notes[:2] == [MEANING, "noisy: clean 10, apgd 20, picking and scoring 0, in all 20"]
    (line,) = csv.DictReader(io.StringIO(comma_separated([row])))
    assert float(line["purifier_passes_per_image"]) == 20
    lines = list(csv.DictReader(io.StringIO(attacks_comma_separated([row]))))
    assert [line["attack"] for line in lines] == ["clean", "apgd", "square"]
    assert [line["purifier_passes_per_image"] for line in lines] == ["10.0", "20.0", ""]
    assert [line["accuracy"] for line in lines] == ["1.0", "0.25", ""]
    assert of_defenses([row])["purifier_passes_per_image"].tolist() == [20]
    assert of_attacks([row])["purifier_passes_per_image"].tolist()[:2] == [10, 20]


@pytest.mark.parametrize(("passes", "told"), [(None, "–"), (1.5, "1.5"), (16, "16"), (12345.6, "12,346")])
def test_numbers_of_passes_are_short(passes, told):
    assert passes_text(passes) == told
