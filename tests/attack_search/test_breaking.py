"""Tests a whole search on a small linear world: images, confirmation, and resumption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from purebench.attack_search.bench import SEARCHED
from purebench.attack_search.breaking import SearchBudget
from purebench.attack_search.candidate import AttackCandidate, Step
from purebench.attack_search.confirm import CONFIRMED, confirm
from purebench.boards.selection import choose
from purebench.core.errors import PurebenchError
from purebench.records import store

import break_world  # isort: skip
from break_world import BOARD, FEW, dev_records, searched, write_world  # isort: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_world(tmp_path)


def test_a_masked_gradient_is_broken_and_confirmed_on_test_images(place: Path) -> None:
    report = searched(place, SearchBudget(minutes=5, images=24, evaluations=30))
    first = next(iter(report.found.halving.candidates.values()))
    assert report.found.halving.scores[12][first.name].accuracy > 0.9  # the usual attack finds nothing
    assert report.found.ended == "broken"
    assert report.confirmation is not None
    assert report.confirmation.robust.value == 0
    assert report.confirmation.robust.n == 24
    assert report.confirmation.robust.confidence == pytest.approx(0.975)
    with store.reading(place / "store") as saved:
        dev, test = (saved.of_board(f"small{end}") for end in (SEARCHED, CONFIRMED))
    assert dev
    assert test
    assert dev[0].data_hash != test[0].data_hash


def test_the_same_seed_gives_the_same_search_and_the_same_confirmation_spends_alpha_once(place: Path) -> None:
    one, again = searched(place), searched(place)
    assert one.to_dict()["candidates"] == again.to_dict()["candidates"]
    assert again.confirmation is not None
    assert (again.confirmation.number, again.confirmation.robust) == (1, one.confirmation.robust)
    other = searched(place, replace(FEW, confirm=12))
    assert other.confirmation is not None
    assert other.confirmation.number == 2
    assert other.confirmation.robust.confidence == pytest.approx(0.9875)


def test_a_confirmation_with_other_draws_is_a_further_one(place: Path) -> None:
    assert searched(place).confirmation.number == 1
    (place / "board.yaml").write_text(yaml.safe_dump({**BOARD, "verify": {"draws": 32}}), encoding="utf-8")
    assert searched(place).confirmation.number == 2
    (place / "board.yaml").write_text(yaml.safe_dump(BOARD), encoding="utf-8")
    assert searched(place).confirmation.number == 1


def test_a_composition_is_confirmed(place: Path) -> None:
    steps = (Step("apgd", {"steps": 3}, "exact"), Step("apgd", {"steps": 5}, "inner(module=classifier.model)"))
    board, composed = choose(str(place / "board.yaml"), ["masked"], None), AttackCandidate(steps, "")
    done = confirm(board, composed, place / "store", random=False, images=24, device="cpu", workers=1)
    assert (done.robust.value, done.errored) == (0, 0)


def test_an_interrupted_search_is_continued_with_the_same_result(place: Path) -> None:
    whole = searched(place, name="whole")
    seen: list[str] = []

    def interrupt(what: str, done: int, total: int) -> None:
        seen.append(what)
        if len(seen) == 6:
            raise KeyboardInterrupt

    part = searched(place, name="part", progress=interrupt)
    assert part.found.ended == "interrupted"
    assert part.confirmation is None
    assert "Not confirmed" in part.conclusion()
    before = dev_records(place / "part")
    assert 0 < len(before) < len(dev_records(place / "whole"))
    rest = searched(place, name="part")
    assert dev_records(place / "part") == dev_records(place / "whole")
    assert [row["dev"] for row in rest.to_dict()["candidates"]] == [row["dev"] for row in whole.to_dict()["candidates"]]
    assert rest.confirmation is not None
    assert rest.confirmation.robust == whole.confirmation.robust


def test_a_killed_search_is_continued_with_the_same_result(place: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import break_world as t;"
        "t.searched(Path(sys.argv[2]), name='killed')"
    )
    words = [sys.executable, "-c", code, str(Path(break_world.__file__).parent), str(place)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    path, end = place / "killed", time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        if path.is_file() and len(_keys(path)) >= 3:
            break
        time.sleep(0.02)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = searched(place, name="killed")
    whole = searched(place, name="whole")
    assert dev_records(path) == dev_records(place / "whole")
    assert killed.confirmation == replace(whole.confirmation, seconds=killed.confirmation.seconds)


def _keys(path: Path) -> dict[str, object]:
    try:
        return dict(dev_records(path))
    except PurebenchError:  # the tables are not there yet
        return {}
