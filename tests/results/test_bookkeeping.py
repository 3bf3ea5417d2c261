"""Tests that the work behind a page is linear in the images and done once, and the layout of result files."""

import json
import sys

import numpy as np
import pytest
from synthetic import make_results

from purebench.leaderboards import terminal
from purebench.leaderboards.page import render
from purebench.records.record import Record
from purebench.results import results as results_module
from purebench.results.files.export import as_json, export_results
from purebench.results.merge import merge
from purebench.results.ranking import standing as standing_module


def made(images, block=10, seed=0):
    rng = np.random.default_rng(seed)
    draws = {
        row: {
            attack: ["".join("01"[int(one)] for one in rng.random(4) < 0.4 + 0.1 * row) for _ in range(images)]
            for attack in ("clean", "apgd", "square")
        }
        for row in range(3)
    }
    return make_results({f"row-{row}": found for row, found in draws.items()}, 4, block)


def calls(work):
    """Returns the number of Python and C function calls of work()."""
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def test_the_calls_per_image_do_not_grow_with_the_number_of_images(tmp_path):
    """Reading, merging, ranking and writing 400 images makes less than 4.4 times as many calls as 100 images."""

    def work(images):
        board, records, _ = made(images)
        texts = [record.to_json() for record in records]

        def every():
            found = merge(board, [Record.from_json(text) for text in texts])
            export_results(tmp_path / f"{images}", found)
            render(board, found, (), {})
            terminal.board_table(board, found)

        return every

    for images in (100, 400):
        work(images)()  # imports and caches
    few, many = (calls(work(images)) for images in (100, 400))
    assert many < 4.4 * few


def test_draws_take_no_call_for_each_image_and_attack():
    """Merging and ranking 1,200 more images, of 3 rows × 4 records, makes less than 12 more calls for each image."""

    def work(images):
        board, records, _ = made(images, images)
        return lambda: terminal.board_table(board, merge(board, records))

    for images in (400, 1_600):
        work(images)()
    few, many = (calls(work(images)) for images in (400, 1_600))
    assert (many - few) / 1_200 < 12


def test_page_terminal_and_files_share_one_ranking_and_one_interval_of_each_attack(tmp_path, monkeypatch):
    board, _, found = made(20, seed=5)
    ranked, estimated = [], []
    rank_of, accuracy = standing_module.rank_of, results_module.accuracy
    monkeypatch.setattr(standing_module, "rank_of", lambda *args, **more: ranked.append(1) or rank_of(*args, **more))
    monkeypatch.setattr(
        results_module, "accuracy", lambda *args, **more: estimated.append(1) or accuracy(*args, **more)
    )
    export_results(tmp_path, found)
    render(board, found, (), {})
    terminal.board_table(board, found)
    assert len(ranked) == 1
    assert len(estimated) == 9


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"b": [1, 2.5, None, True, "a, \n b"], "a": {"z": [], "y": {}, "x": [[1], [], [{"k": "é"}], ("t",)]}},
        [1, [2, [3]], {"a": 1}],
        "text",
        {'key with " and \n': 1e-17},
    ],
)
def test_result_files_have_the_layout_of_json(value):
    assert as_json(value) == json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
