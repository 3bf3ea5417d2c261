"""Tests that result files are reproducible, can be read back, and are never written partially."""

import json
import random
import resource
from contextlib import contextmanager
from dataclasses import replace

import pytest

from purebench.core.errors import PurebenchError
from purebench.results.files.export import as_json, export_results, load_results, write_files

from synthetic import merge  # isort: skip


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@contextmanager
def small_disk(size):
    """Limits files to `size` bytes, so that writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["demo", "cascade"])
def test_exported_results_can_be_read_back(request, tmp_path, name):
    results = request.getfixturevalue(name).results
    written = export_results(tmp_path / "results", results)
    assert sorted(path.name for path in written) == sorted(contents(tmp_path / "results"))
    assert load_results(tmp_path / "results") == sorted(results, key=lambda found: found.name)


def test_result_files_contain_distances_verdicts_and_sources(nearby, tmp_path):
    export_results(tmp_path, nearby.results)
    data = json.loads((tmp_path / "vae.json").read_text(encoding="utf-8"))
    attacks = {attack["name"]: attack for attack in data["attacks"]}
    assert sum(isinstance(distance, float) for distance in attacks["fmn"]["nearest"]) > 40
    assert set(attacks["autoattack"]["claims"]) == {0, 1}
    assert attacks["transfer"]["source"] == {"attack": "apgd-exact", "defense": "vae"}
    assert (attacks["clean"]["nearest"], attacks["clean"]["claims"], attacks["clean"]["source"]) == ([], [], None)
    assert (data["board"]["cascade"], data["board"]["attack_precision"]) == (False, "bf16")


def test_result_files_depend_on_neither_timings_nor_the_order_of_records(demo, tmp_path):
    later = [
        replace(record, seconds={phase: 3 * value for phase, value in record.seconds.items()})
        for record in demo.records
    ]
    random.Random(1).shuffle(later)
    export_results(tmp_path / "a", demo.results)
    export_results(tmp_path / "b", merge(demo.board, later))
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first.pop("timings.json") != second.pop("timings.json")
    assert first == second
    assert not any(word in text for text in first.values() for word in (b"second", b"12.5", b"host", b"date"))


def test_result_files_are_sorted_indented_and_end_in_a_newline(demo, tmp_path):
    export_results(tmp_path, demo.results[:1])
    text = (tmp_path / "none.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def test_exporting_keeps_the_timings_of_other_defenses(demo, tmp_path):
    export_results(tmp_path, demo.results[:1])
    export_results(tmp_path, demo.results[1:2])
    timings = json.loads((tmp_path / "timings.json").read_text(encoding="utf-8"))
    assert timings == {found.name: found.seconds for found in demo.results[:2]}


def test_a_full_disk_leaves_the_old_files_unchanged(demo, tmp_path):
    export_results(tmp_path, demo.results[:2])
    before = contents(tmp_path)
    with small_disk(2000), pytest.raises(PurebenchError, match="cannot be written") as raised:
        export_results(tmp_path, demo.results)
    assert "\n" not in str(raised.value)
    assert contents(tmp_path) == before


def test_exporting_below_a_file_raises_a_one_line_error(demo, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(PurebenchError, match="cannot be written") as raised:
        export_results(tmp_path / "file" / "results", demo.results)
    assert "\n" not in str(raised.value)
    assert contents(tmp_path) == {"file": b""}


def test_a_file_that_cannot_be_replaced_leaves_no_partial_file(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(PurebenchError, match="taken: cannot be written"):
        write_files({tmp_path / "taken": "text"})
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "none"}', "null"])
def test_an_invalid_result_file_is_named_in_the_error(demo, tmp_path, text):
    export_results(tmp_path, demo.results[:1])
    (tmp_path / "strange.json").write_text(text, encoding="utf-8")
    with pytest.raises(PurebenchError, match=r"strange\.json: expected") as raised:
        load_results(tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["timings", "../outside", "a/b"])
def test_a_defense_name_that_is_not_a_file_name_is_rejected(demo, tmp_path, name):
    with pytest.raises(PurebenchError, match="choose another"):
        export_results(tmp_path, [replace(demo.results[0], name=name)])
    assert contents(tmp_path) == {}


def test_nan_is_rejected_in_json():
    with pytest.raises(PurebenchError, match="finite"):
        as_json({"distance": float("nan")})


def test_an_empty_folder_has_no_results(tmp_path):
    assert load_results(tmp_path) == []
    assert load_results(tmp_path / "missing") == []
