"""Tests that `ranks.json` is used for the results that it is of, and never for others."""

import json
from dataclasses import replace

import pytest

import purebench.results.files.ranks_file as module
from purebench.core.errors import PurebenchError
from purebench.core.seeds import hash_of
from purebench.results.files.export import export_results
from purebench.results.files.ranks_file import stored_standing
from purebench.results.ranking.rank import ranked_results
from purebench.results.ranking.standing import standing

RIGHT = {"a": 28, "b": 20, "c": 2}
"""Right answers of 30 by row."""


def answers(right):
    return {name: {"clean": ["1"] * 30, "apgd": ["1"] * one + ["0"] * (30 - one)} for name, one in right.items()}


@pytest.fixture
def folder(build, tmp_path, monkeypatch):
    _, _, results = build.results(answers(RIGHT))
    export_results(tmp_path, results)
    known = ranked_results(results)
    monkeypatch.setattr(module, "COMPUTED", len(known))
    monkeypatch.setattr(module, "standing", lambda results: "computed")
    return tmp_path, known


def test_the_stored_standing_is_the_computed_one(folder):
    path, known = folder
    found, computed = stored_standing(path, known), standing(known)
    assert found.intervals == computed.intervals
    assert found.p_values == pytest.approx(computed.p_values, abs=1e-9)
    assert (found.images, found.method, found.confidence) == (computed.images, computed.method, computed.confidence)
    assert (found.computed, computed.computed) == (False, True)


def test_the_file_is_not_used_if_the_ranks_are_to_be_computed(folder):
    path, known = folder
    assert stored_standing(path, known) != "computed"
    assert stored_standing(path, known, compute=True) == "computed"


def test_ranks_of_other_results_are_not_used(folder):
    path, known = folder
    changed = replace(known[0], images=tuple(image + 1 for image in known[0].images))
    others = [replace(one, images=changed.images) for one in known]
    assert stored_standing(path, others) == "computed"
    assert stored_standing(path, known[:2]) == "computed"
    assert stored_standing(path, [replace(one, board={**one.board, "confidence": 0.9}) for one in known]) == "computed"


def test_ranks_of_other_scores_of_the_same_rows_are_not_used(folder, build):
    path, known = folder
    _, _, results = build.results(answers(RIGHT | {"a": 27}))
    others = ranked_results(results)
    assert [one.name for one in others] == [one.name for one in known]
    assert stored_standing(path, others) == "computed"


def test_a_file_of_an_earlier_version_or_none_is_not_used(folder):
    path, known = folder
    file = path / "ranks.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({key: value for key, value in plain.items() if key != "scores"}), encoding="utf-8")
    assert stored_standing(path, known) == "computed"
    file.unlink()
    assert stored_standing(path, known) == "computed"


def edited(path, **change):
    """Changes the file as someone who computes its hash again."""
    file = path / "ranks.json"
    plain = json.loads(file.read_text(encoding="utf-8")) | change
    told = {key: value for key, value in plain.items() if key not in ("scores", "content")}
    file.write_text(json.dumps(plain | {"content": hash_of(told)}), encoding="utf-8")


@pytest.mark.parametrize("part", ["places", "p_values", "images"])
def test_a_file_that_was_edited_is_not_used(folder, part):
    path, known = folder
    file = path / "ranks.json"
    plain = json.loads(file.read_text(encoding="utf-8"))
    assert stored_standing(path, known) != "computed"
    if part == "images":
        plain["images"] += 1
    else:
        plain[part][0] |= {"letters": "z"} if part == "places" else {"p": 0.5}
    file.write_text(json.dumps(plain), encoding="utf-8")
    assert stored_standing(path, known) == "computed"


def test_ranks_that_do_not_follow_from_the_p_values_are_refused(folder):
    path, known = folder
    places = json.loads((path / "ranks.json").read_text(encoding="utf-8"))["places"]
    edited(path, places=[*places[:2], places[2] | {"low": 1}])
    with pytest.raises(PurebenchError, match=r"expected the ranks 3 to 3 of c.* but got 1 to 3"):
        stored_standing(path, known)


def test_ranks_of_few_rows_are_always_computed(folder, monkeypatch):
    path, known = folder
    monkeypatch.setattr(module, "COMPUTED", len(known) + 1)
    assert stored_standing(path, known) == "computed"


@pytest.mark.parametrize("change", [{"places": []}, {"p_values": []}, {"images": "many"}, {"confidence": 2.0}])
def test_a_file_that_contradicts_its_hash_is_refused(folder, change):
    path, known = folder
    edited(path, **change)
    with pytest.raises(PurebenchError, match=r"ranks\.json"):
        stored_standing(path, known)
