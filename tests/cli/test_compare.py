"""Tests of `purebench compare` on committed results, folders, files and stores, against the statistics."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board
from purebench.cli.main import app
from purebench.core.errors import PurebenchError
from purebench.execution.board_run import run_board
from purebench.results.files.export import export_results, load_results
from purebench.results.merge import merge
from purebench.results.ranking.comparisons import Side, comparisons
from purebench.results.results import DefenseResult
from purebench.statistics import compare, holm

from boards import write_board  # isort: skip

QUICK = bundled()["fashion-quick"].parent / "results"


@pytest.fixture(scope="module")
def rows() -> dict[str, DefenseResult]:
    return {row.name: row for row in load_results(QUICK)}


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["compare", *words])


def robust(result: DefenseResult) -> np.ndarray:
    return result.scores()


def test_two_rows_are_compared_image_by_image(rows: dict[str, DefenseResult]) -> None:
    (pair,) = comparisons([(Side("trades", rows["trades"]), Side("stylegan-cosine", rows["stylegan-cosine"]))])
    a, b = robust(rows["trades"]), robust(rows["stylegan-cosine"])
    assert pair.found == compare(a, b, images=(rows["trades"].images, rows["stylegan-cosine"].images))
    assert pair.adjusted == pair.found.p_value
    assert pair.apart == (pair.found.p_value <= 0.05)
    (pair,) = comparisons([(Side("none", rows["none"]), Side("vae", rows["vae"]))], confidence=0.9)
    assert (pair.found.test, pair.found.difference.confidence) == ("mcnemar", 0.9)
    (pair,) = comparisons([(Side("none", rows["none"]), Side("vae", rows["vae"]))], attack="clean")
    clean = [rows[name].right(rows[name].attacks[0])[:, 0].astype(float) for name in ("none", "vae")]
    assert pair.found.difference.value == pytest.approx(clean[0].mean() - clean[1].mean())


def test_p_values_of_all_pairs_are_corrected_by_holm(rows: dict[str, DefenseResult]) -> None:
    sides = [Side(name, rows[name]) for name in ("trades", "stylegan-cosine", "vae", "none")]
    found = comparisons(list(combinations(sides, 2)))
    assert [pair.adjusted for pair in found] == holm([pair.found.p_value for pair in found]).tolist()
    assert [(pair.a, pair.b) for pair in found][:2] == [("trades", "stylegan-cosine"), ("trades", "vae")]


def test_rows_on_different_images_are_rejected_or_compared_on_shared_images(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path, images=8, attacks={"clean": {"use": "clean"}}))
    fewer = replace(board, dataset=replace(board.dataset, images=4))
    (long, _), (_, short) = (
        [row for row in merge(one, run_board(one, tmp_path / "s", workers=1)[1]) if row.name in ("none", "noise")]
        for one in (board, fewer)
    )
    pair = (Side("none", long), Side("noise", short))
    with pytest.raises(PurebenchError, match="the same images, but got 4 and 0 images that only one of them has"):
        comparisons([pair])
    (found,) = comparisons([pair], shared=True)
    assert found.found.difference.n == 4
    with pytest.raises(PurebenchError, match="did you mean 'clean'"):
        comparisons([pair], attack="clear")


def test_committed_results_are_compared_without_a_run(tmp_path: Path) -> None:
    out = tmp_path / "all.json"
    done = call("--all", "--board", "fashion-quick", "--out", str(out))
    assert done.exit_code == 0
    found = json.loads(out.read_text(encoding="utf-8"))["pairs"]
    every = len(list(combinations(load_results(QUICK), 2)))
    assert len(found) == every
    assert f"{sum(pair['apart'] for pair in found)} of {every} pairs differ significantly" in done.output
    done = call("trades", "stylegan-cosine")
    assert "trades is better than stylegan-cosine" in done.output
    assert "48 images; 95 % interval of the paired difference: paired-gaffke" in " ".join(done.output.split())


def test_the_examples_of_the_help_run_on_committed_results() -> None:
    text = " ".join(call("--help").output.replace("│", " ").split())
    shown = [one.partition(" ╭")[0].split() for one in text.split("Example: purebench compare ")[1:]]
    examples = [words for words in shown if not any(word.endswith(".json") for word in words)]
    assert len(examples) == 2
    assert all(call(*words).exit_code == 0 for words in examples)


def test_result_folders_and_files_are_compared(tmp_path: Path, rows: dict[str, DefenseResult]) -> None:
    export_results(tmp_path / "old", [rows["none"], rows["vae"]])
    export_results(tmp_path / "new", [rows["vae"], rows["noise"]])
    done = call(str(tmp_path / "old"), str(tmp_path / "new"))
    assert done.exit_code == 3  # a row is missing, although the other one is unchanged
    assert "not worse (unchanged)" in done.output
    assert "missing from the new results: none" in done.output
    assert "only in the new results: noise" in done.output
    out = tmp_path / "compared.json"
    done = call(str(tmp_path / "old" / "none.json"), str(tmp_path / "new" / "noise.json"), "--out", str(out))
    assert done.exit_code == 3
    assert "none → noise" in done.output
    told = json.loads(out.read_text(encoding="utf-8"))
    assert told["verdict"] == told["rows"][0]["verdict"] == "undecided"
    with pytest.raises(PurebenchError, match="expected two result files, two folders or two rows"):
        CliRunner().invoke(app, ["compare", str(tmp_path), "none"], catch_exceptions=False)


def test_the_exit_code_says_whether_a_result_is_worse_than_before(
    tmp_path: Path, rows: dict[str, DefenseResult]
) -> None:
    strong, weak = tmp_path / "trades.json", tmp_path / "vae.json"
    export_results(tmp_path, [rows["trades"], rows["vae"]])
    assert call(str(strong), str(weak)).exit_code == 1
    assert call(str(strong), str(weak), "--margin", "0.9").exit_code == 0
    assert call(str(weak), str(strong)).exit_code == 0
    few = call(str(weak), str(strong), "--attack", "clean", "--confidence", "0.9999")
    assert (few.exit_code, "undecided: more images, or a larger margin" in " ".join(few.output.split())) == (3, True)
    edited = json.loads(weak.read_text(encoding="utf-8"))
    edited["provenance"]["code"]["shared"] = "00"
    weak.write_text(json.dumps(edited), encoding="utf-8")
    other = call(str(strong), str(weak))
    assert other.exit_code == 1
    assert "the code of the classifier or of the data set differs, so" in " ".join(other.output.split())
    wrong = call(str(strong), str(weak), "--margin", "5")
    assert "--margin: expected a fraction, such as 0.05 for 5 points, but got 5" in str(wrong.exception)


def test_rows_of_a_store_are_compared(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path, images=8, attacks={"clean": {"use": "clean"}}))
    _, records = run_board(board, tmp_path / "s", workers=1)
    done = call("none", "coin", "--board", str(tmp_path / "board.yaml"), "--store", str(tmp_path / "s"))
    assert done.exit_code == 0, done.exception
    by_name = {row.name: row for row in merge(board, records)}
    gap = 100 * (robust(by_name["none"]).mean() - robust(by_name["coin"]).mean())
    assert f"{gap:+.1f} [" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trades"], "expected either two rows"),
        (["trades", "stylegan-cosine", "--all"], "expected either two rows"),
        (["trades", "stylegan-cosin"], "the row 'stylegan-cosin' is unknown; did you mean 'stylegan-cosine'"),
        (["trades", "stylegan-cosine", "--confidence", "95"], "between 0 and 1"),
        (["trades", "stylegan-cosine", "--results", "nowhere"], "nowhere: expected results"),
        (["trades", "stylegan-cosine", "--board", "celeba-ids"], "but found none"),
    ],
)
def test_invalid_input_gives_a_one_line_error(words: list[str], message: str) -> None:
    done = call(*words)
    assert isinstance(done.exception, PurebenchError)
    assert message in str(done.exception)


def test_the_source_of_the_numbers_is_named(tmp_path: Path, rows: dict[str, DefenseResult]) -> None:
    def source(*words: str) -> str:
        return CliRunner().invoke(app, ["compare", *words], env={"COLUMNS": "500"}).output

    assert "source: the committed results of fashion-quick, not your own runs; for your own" in source("trades", "vae")
    export_results(tmp_path, [rows["none"], rows["vae"]])
    assert f"source: the results in {tmp_path}" in source("none", "vae", "--results", str(tmp_path))
    files = [str(tmp_path / f"{name}.json") for name in ("none", "vae")]
    assert f"old: {files[0]}; new: {files[1]}" in source(*files)
    assert "committed" not in source(*files)
    assert f"source: {files[0]}, and for the other row the committed results" in source(files[0], "vae")


@pytest.mark.parametrize(("columns", "sized"), [("60", False), ("120", True)])
def test_the_legend_explains_the_columns_that_are_shown(
    columns: str, sized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = " ".join(call("trades", "vae").output.split())
    assert ("odds: (A > B, plus ½) / (<, plus ½)" in text) == sized
    assert "not corrected for the number of pairs" not in text
    assert "intervals are not corrected for the number of pairs" in " ".join(call("--all").output.split())
