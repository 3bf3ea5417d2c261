"""Tests standings: ranks on the images that all rows share, their letters, and ranks.json."""

import json
from dataclasses import replace

import numpy as np
import pytest

from purebench.boards.board import Stop
from purebench.core.errors import PurebenchError
from purebench.results.files.export import export_results, load_results

from synthetic import merge  # isort: skip
from purebench.records.outcome import Outcome
from purebench.results.ranking.rank import rank, standing_of
from purebench.results.ranking.standing import letter, on_shared_images, standing
from purebench.statistics import anytime_p_values, holm
from purebench.statistics import rank as rank_of


def rows(build, accuracies, images=120, **more):
    """Builds deterministic rows with these accuracies on the same images."""
    rng = np.random.default_rng(0)
    hard = rng.random(images)
    answers = {name: {"clean": ["01"[int(h < q)] for h in hard]} for name, q in accuracies.items()}
    return build.results(answers, block=20, **more)


def test_places_are_those_of_statistics_rank(build):
    board, _, results = rows(build, {"c": 0.3, "a": 0.9, "b": 0.88})
    found = standing_of(results)
    shared, values = on_shared_images(results)
    expected = rank_of(values, 0.95, seed=board.seed)
    assert shared == list(range(100, 220))
    assert list(found.intervals) == ["a", "b", "c"]
    for name, row in zip(("c", "a", "b"), range(3), strict=True):
        place = found.intervals[name]
        assert (place.low, place.high, place.images) == (expected.low[row], expected.high[row], 120)
        assert place.best == pytest.approx(expected.best[row], abs=0.03)  # the bootstrap resamples differ
    assert set("".join(place.letters for place in found.intervals.values())) == {"a", "b"}
    assert found.intervals["a"].text == "1–2"
    assert found.intervals["c"].text == "3"


def test_rows_are_compared_on_the_images_that_all_rows_share(build):
    board, records, _ = rows(build, {"a": 0.9, "b": 0.3})
    some = [record for record in records if record.defense == "a" or record.block in (1, 3)]
    found = standing_of(merge(board, some))
    assert {place.images for place in found.intervals.values()} == {40}
    apart = [record for record in records if record.block == (0 if record.defense == "a" else 1)]
    assert standing_of(merge(board, apart)) is None
    assert [row.ranks for row in rank(merge(board, apart))] == [None, None]
    assert standing([]) is None


def test_rows_without_a_robust_accuracy_have_no_place(build):
    nothing = {"clean": ["1"] * 4, "apgd": [Outcome.ERRORED] * 4}
    _, _, results = build.results({"a": {"clean": ["1"] * 4, "apgd": ["1"] * 4}, "gone": nothing})
    assert list(standing_of(results).intervals) == ["a"]


def test_boards_with_a_stopping_rule_use_anytime_valid_p_values(build):
    _, _, results = rows(build, {"a": 0.95, "b": 0.5, "c": 0.1}, stop=Stop(0.001))
    found = standing_of(results)
    values = on_shared_images(results)[1]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = holm(anytime_p_values(np.array([values[a] - values[b] for a, b in pairs])))
    assert found.method == "holm, betting"
    assert list(found.p_values.values()) == pytest.approx(expected.tolist())


def test_ranks_json_covers_all_results_in_the_folder(build, tmp_path):
    _, _, results = rows(build, {"a": 0.9, "b": 0.3, "c": 0.1})
    export_results(tmp_path / "whole", results)
    for result in results:
        export_results(tmp_path / "one", [result])
    assert (tmp_path / "whole" / "ranks.json").read_bytes() == (tmp_path / "one" / "ranks.json").read_bytes()
    data = json.loads((tmp_path / "one" / "ranks.json").read_text(encoding="utf-8"))
    assert [place["defense"] for place in data["places"]] == ["a", "b", "c"]
    assert len(data["p_values"]) == 3
    assert load_results(tmp_path / "one") == results
    other = rows(build, {"d": 0.5}, images=40)[2]  # results of another board are not compared with these
    export_results(tmp_path / "one", other)
    data = json.loads((tmp_path / "one" / "ranks.json").read_text(encoding="utf-8"))
    assert [place["defense"] for place in data["places"]] == ["d"]


def test_letters_are_unique_for_any_number_of_groups():
    names = [letter(number) for number in range(60)]
    assert (names[0], names[26], names[52]) == ("a", "A", "(53)")
    assert len(set(names)) == 60


def test_rows_on_different_data_are_not_compared(build):
    """Equal positions are different images if a folder of images changed between the runs of two rows."""
    _, _, results = rows(build, {"a": 0.9, "b": 0.3})
    other = replace(results[1], provenance={**results[1].provenance, "data": "ee" * 32})
    with pytest.raises(PurebenchError, match="the data of a and b have different hashes"):
        rank([results[0], other])
    unknown = replace(results[1], provenance={})
    assert standing_of([results[0], unknown]).intervals["a"].low == 1
