"""Tests of `purebench export`, which writes results to files, and of `purebench show --results`, which reads them."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from purebench.boards.parse import load_board
from purebench.cli.declaration import declared
from purebench.cli.main import app
from purebench.cli.output.citations import bibtex, papers
from purebench.cli.output.export_manifest import ExportManifest
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.data.pictures import to_bytes
from purebench.records import store
from purebench.records.outcome import WORST_CASE

from boards import write_board  # isort: skip
from synthetic import make_board, make_record  # isort: skip


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a board of two rows and two blocks after a run, its results, its page and its export."""
    folder = tmp_path_factory.mktemp("ran")
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=3)"}}
    rows = {"plain": "none", "noise_1": "gaussian-noise(sigma=0.1)"}
    definition = write_board(folder, images=8, attacks=attacks, defenses=rows, title="Small & 100 %")
    words = ["--store", folder / "s", "--workers", 1, "--results", folder / "r", "--page", folder / "p.html"]
    done = call("run", definition, *words)
    assert done.exit_code == 0, done.output
    done = call("export", "small", "--store", folder / "s", "-o", folder / "e", "--format", "npz,png,md,tex,csv,bib")
    assert done.exit_code == 0, done.output
    return folder


def test_exported_adversarial_examples_are_those_of_the_store(ran: Path) -> None:
    with store.reading(ran / "s") as saved:
        _, keys = saved.plans()["small"]
        records = [record for key in keys if (record := saved.get(key)) is not None]
        for defense in ("plain", "noise_1"):
            for attack in ("clean", "square", WORST_CASE):
                those = [one for one in records if (one.defense, one.attack) == (defense, attack)]
                expected = np.concatenate([saved.adversarial(one.key) for one in those])  # type: ignore[misc]
                with np.load(ran / "e" / "adversarial" / defense / f"{attack}.npz", allow_pickle=False) as found:
                    assert np.array_equal(found["images"], expected)
                    assert found["labels"].tolist() == [label for one in those for label in one.labels]
                    assert found["positions"].tolist() == [place for one in those for place in one.images]
                    assert found["outcome"].tolist() == [str(value) for one in those for value in one.outcomes]
                    picks = [name for one in those for name in one.picked]
                    assert found["attack"].tolist() == (picks or [attack] * 8)
                    assert set(found["attack"]) <= {"clean", "square"}
                    names = sorted(path.name for path in (ran / "e" / "adversarial" / defense / attack).iterdir())
                    assert len(names) == 8
                    first = f"{found['positions'][0]:06}-class{found['labels'][0]}-{found['outcome'][0]}.png"
                    pixels = np.asarray(Image.open(ran / "e" / "adversarial" / defense / attack / first))
                    assert np.array_equal(pixels, to_bytes(expected[0])[0])


def test_an_export_removes_the_files_of_earlier_runs(tmp_path: Path) -> None:
    """Files of rows, attacks and outcomes of the earlier run are removed; files of other programs are kept."""
    attacks = {"clean": {"use": "clean"}, "square": {"use": "square(queries=3)"}}
    both = {"plain": "none", "noise_1": "gaussian-noise(sigma=0.1)"}
    words = ["--store", tmp_path / "s", "--workers", 1]
    out = tmp_path / "e"
    export = ["export", "small", "--store", tmp_path / "s", "-o", out, "--format"]
    call("run", write_board(tmp_path, images=4, attacks=attacks, defenses=both), *words)
    assert call(*export, "npz,png").exit_code == 0
    assert (out / "adversarial" / "noise_1" / "square.npz").is_file()
    (out / "mine.png").touch()
    assert call(*export, "csv").exit_code == 0  # the same run: files exported before are kept
    assert (out / "adversarial" / "noise_1" / "square.npz").is_file()
    call(
        "run", write_board(tmp_path, images=4, attacks={"clean": attacks["clean"]}, defenses={"plain": "none"}), *words
    )
    assert call(*export, "npz").exit_code == 0
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert left == ["adversarial/plain/clean.npz", "adversarial/plain/worst-case.npz", "export.json", "mine.png"]
    assert json.loads((out / "export.json").read_text(encoding="utf-8"))["files"] == left[:2]


def test_an_export_folder_of_another_board_is_rejected(ran: Path, tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"board": "other", "records": "", "files": []}', encoding="utf-8")
    done = call("export", "small", "--store", ran / "s", "-o", tmp_path)
    assert isinstance(done.exception, PurebenchError)
    assert "expected no export of another board, but it contains one of 'other'" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["export.json"]


def test_only_files_of_an_export_are_deleted(ran: Path, tmp_path: Path) -> None:
    """The list of exported files is not trusted."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("code.py", "../outside.png"):
        (out / name).touch()
    listed = {"board": "small", "records": "", "files": ["code.py", "../outside.png", str(tmp_path / "outside.png")]}
    (out / "export.json").write_text(json.dumps(listed), encoding="utf-8")
    assert call("export", "small", "--store", ran / "s", "-o", out, "--format", "csv").exit_code == 0
    assert (out / "code.py").exists()
    assert (tmp_path / "outside.png").exists()


def test_images_of_incomplete_blocks_are_not_exported(ran: Path, tmp_path: Path) -> None:
    """During a run, the second block may have its clean images and no attack yet."""
    copy = tmp_path / "s"
    copy.write_bytes((ran / "s").read_bytes())
    with store.writing(copy) as saved:
        _, keys = saved.plans()["small"]
        records = [record for key in keys if (record := saved.get(key)) is not None]
        saved.remove([one.key for one in records if one.block == 1 and one.attack != "clean"])
    assert call("export", "small", "--store", copy, "-o", tmp_path / "e", "--format", "npz").exit_code == 0
    with np.load(tmp_path / "e" / "adversarial" / "plain" / "clean.npz", allow_pickle=False) as found:
        assert len(found["images"]) == 4


def test_tables_contain_the_numbers_of_the_results(ran: Path) -> None:
    from purebench.results.files.export import load_results
    from purebench.results.ranking.rank import rank

    rows = rank(load_results(ran / "r"))
    with (ran / "e" / "small.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["defense"] for line in lines] == [row.name for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert row.robust is not None
        assert (float(line["robust"]), float(line["robust_low"])) == (row.robust.value, row.robust.low)
    markdown = (ran / "e" / "small.md").read_text(encoding="utf-8")
    assert "noise\\_1" in markdown
    assert len({line.count("|") for line in re.sub(r"\\.", "", markdown).splitlines()}) == 1
    tex = (ran / "e" / "small.tex").read_text(encoding="utf-8")
    assert "noise\\_1" in tex
    assert "Small \\& 100 \\%" in tex
    assert len({line.count("&") for line in tex.replace("\\&", "").splitlines() if line.endswith("\\\\")}) == 1


def test_citations_are_those_declared_by_the_defenses(ran: Path) -> None:
    assert "purebench" in (ran / "e" / "small.bib").read_text(encoding="utf-8")
    text = bibtex(["diffpure", "mlvgm/gender-linear", "none", "nobody"], "1.2")
    assert set(re.findall(r"eprint = \{(.*?)\}", text)) == {"2205.07460", "2412.03453"}
    assert "version = {1.2}" in text


def test_every_declared_paper_has_a_complete_bibtex_entry() -> None:
    declarations, _ = declared()
    numbers = {found[1] for one in declarations.values() if (found := re.search(r"arXiv:(\S+)", one.source))}
    known = papers()
    assert numbers <= set(known)
    for entry in known.values():
        assert entry.count("{") == entry.count("}")
        for key in ("author", "title", "year", "eprint"):
            assert f"\n  {key} = {{" in entry
    assert len({entry.splitlines()[0] for entry in known.values()}) == len(known)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small", "--format", "npz,pdf"], "'pdf'"),
        (["small", "--format", ","], "npz, png"),
        (["other"], "'other'"),
        (["small", "-o", "FILE"], "is a file"),
    ],
)
def test_invalid_input_is_rejected(ran: Path, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "FILE").write_text("x", encoding="utf-8")
    words = [str(tmp_path / word) if word == "FILE" else word for word in words]
    done = call("export", *words, "--store", ran / "s")
    assert isinstance(done.exception, PurebenchError)
    assert message in str(done.exception)


def test_show_results_prints_the_same_table_as_the_store(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data set, model or store is opened: creating any of them fails."""
    whole = call("show", "small", "--store", ran / "s").output

    def none(*_: object, **__: object) -> None:
        raise AssertionError("something was made")

    monkeypatch.setattr(registry, "create", none)
    monkeypatch.setattr(registry, "factory", none)
    monkeypatch.setattr(store, "reading", none)
    done = call("show", "--results", ran / "r", "--page", tmp_path / "p.html")
    assert done.exit_code == 0, done.output
    rows = [line for line in whole.splitlines() if "plain" in line or "noise_1" in line]
    assert rows
    assert [line for line in done.output.splitlines() if "plain" in line or "noise_1" in line] == rows
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert 'id="defense-plain"' in page
    assert "Command" in page


def test_results_of_a_bundled_board_are_shown_with_its_title(ran: Path, tmp_path: Path) -> None:
    """A result contains only the name of its board; tests of the leaderboards read all bundled results."""
    from purebench.boards.bundled import bundled

    title = load_board(bundled()["fashion-quick"]).title
    for name, has in (("small", False), ("fashion-quick", True), ("fashion-quick@8-255", True)):
        (tmp_path / name).mkdir()
        for file in ("plain.json", "noise_1.json"):
            result = json.loads((ran / "r" / file).read_text(encoding="utf-8"))
            result["board"]["name"] = name
            (tmp_path / name / file).write_text(json.dumps(result), encoding="utf-8")
        done = call("show", "--results", tmp_path / name)
        assert done.exit_code == 0, done.output
        assert (title in done.output) == has


def test_mixed_and_missing_results_are_rejected(ran: Path, tmp_path: Path) -> None:
    text = (ran / "r" / "plain.json").read_text(encoding="utf-8")
    assert "is not a folder" in str(call("show", "--results", tmp_path / "x").exception)
    assert "there are none" in str(call("show", "--results", tmp_path).exception)
    (tmp_path / "plain.json").write_text(text, encoding="utf-8")
    other = text.replace('"plain"', '"second"').replace('"seed": 0', '"seed": 1')
    (tmp_path / "second.json").write_text(other, encoding="utf-8")
    assert "differ" in str(call("show", "--results", tmp_path).exception)


def test_files_are_written_before_the_table_is_printed(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from purebench.leaderboards import terminal

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no terminal")

    monkeypatch.setattr(terminal, "print_board", fails)
    words = ["--page", tmp_path / "p.html", "--results", tmp_path / "r"]
    assert call("show", "small", "--store", ran / "s", *words).exit_code == 1
    assert (tmp_path / "p.html").is_file()
    assert (tmp_path / "r" / "plain.json").is_file()


def test_the_bibtex_entry_of_purebench_agrees_with_the_citation_file() -> None:
    root = Path(__file__).parents[2]
    given = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    text = bibtex([], str(given["version"]))
    (author,) = (one["name"] for one in given["authors"])
    year = str(given["date-released"])[:4]
    for field, value in {
        "title": f"{{{given['title']}}}",
        "author": f"{{{author}}}",
        "year": year,
        "version": given["version"],
        "license": given["license"],
    }.items():
        assert f"  {field} = {{{value}}},\n" in text
    assert text.strip() in (root / "docs" / "citing.md").read_text(encoding="utf-8")


def test_entries_of_robustbench_and_model_cards_are_exported(ran: Path, tmp_path: Path) -> None:
    done = call("export", "small", "--store", ran / "s", "-o", tmp_path, "--format", "model-info,card")
    assert done.exit_code == 0, done.output
    assert "no model-info: noise_1: expected a deterministic defense, but it is random" in done.stderr
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["cards/noise_1.md", "cards/plain.md", "export.json", "model_info/fashion-mnist/Linf/plain.json"]
    entry = json.loads((tmp_path / "model_info" / "fashion-mnist" / "Linf" / "plain.json").read_text(encoding="utf-8"))
    assert (entry["dataset"], entry["eps"]) == ("fashion-mnist", "8/255")
    command = re.search("```sh\npurebench (.*)\n```", (tmp_path / "cards" / "plain.md").read_text(encoding="utf-8"))
    assert command is not None
    assert command[1] == f"run {ran / 'board.yaml'} --defense none --images 8"


def test_no_json_file_outside_of_model_info_is_deleted(ran: Path, tmp_path: Path) -> None:
    names = ["settings.json", "model_info/settings.json", "a/model_info/b/c/d.json", "model_info/b/c/d.json"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = {"board": "small", "records": "", "files": names}
    (tmp_path / "export.json").write_text(json.dumps(listed), encoding="utf-8")
    assert call("export", "small", "--store", ran / "s", "-o", tmp_path, "--format", "csv").exit_code == 0
    assert [(tmp_path / name).exists() for name in names] == [True, True, True, False]


def test_an_export_removes_the_pictures_of_records_that_were_replaced(tmp_path: Path) -> None:
    """A job that ERRORED and is run again has the same key."""
    record = make_record(make_board(defenses=("plain",)), "plain", "apgd", 0, ["1"] * 4)
    for name in ("000100-class0-errored.png", "000100-class0-robust.png"):
        (tmp_path / name).touch()
    ExportManifest.of(tmp_path, "b").replace_by([tmp_path / "000100-class0-errored.png"], [record])
    ExportManifest.of(tmp_path, "b").replace_by([tmp_path / "000100-class0-robust.png"], [replace(record, forwards=1)])
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["000100-class0-robust.png"]
    ExportManifest.of(tmp_path, "b").replace_by([], [replace(record, forwards=1)])
    assert [path.name for path in sorted(tmp_path.glob("*.png"))] == ["000100-class0-robust.png"]  # the same records
