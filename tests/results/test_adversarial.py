"""Tests that `report.adversarial` gives the verified images, inside the threat model, with their recorded outcomes."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import purebench
from purebench import AdversarialExamples, Defense, Function, PurebenchError, Report, Spec, create
from purebench.boards.board import Board
from purebench.boards.parse import load_board
from purebench.records.outcome import Outcome

from boards import write_board  # isort: skip

ATTACKS = {
    "clean": {"use": "clean"},
    "apgd": {"use": "apgd(steps=10)", "gradient": "exact", "eot": 2},
    "for-random": {"use": "square(queries=5)", "only": "random"},
}
RADIUS = 8 / 255


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return load_board(write_board(tmp_path_factory.mktemp("board"), images=6, block=4, attacks=ATTACKS))


@pytest.fixture(scope="module")
def report(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Report:
    store = tmp_path_factory.mktemp("store") / "s.sqlite"
    return purebench.evaluate(["none", "noise"], board, store=store, progress=False)


def test_adversarial_examples_agree_with_their_recorded_outcomes(report: Report) -> None:
    """Classifies the clean and the adversarial images again with the undefended classifier."""
    model = Defense(create("classifiers", Spec("fashion-resnet")).eval())
    x_adv, x, y, outcomes, attacks, positions = report.adversarial("none", "apgd")
    assert x_adv.shape == x.shape == (6, 1, 32, 32)
    assert (x_adv.dtype, x.dtype, y.dtype) == (torch.float32, torch.float32, torch.int64)
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    distance = (x_adv - x).abs().amax()
    assert RADIUS / 2 < distance <= RADIUS + 1e-6
    with torch.no_grad():
        right = model(x_adv).argmax(1) == y
    assert [Outcome.ROBUST if one else Outcome.MISCLASSIFIED for one in right.tolist()] == list(outcomes)
    assert set(attacks) == {"apgd"}
    result = report["none"].result
    assert positions == result.images
    assert y.tolist() == list(result.labels)
    clean = report.adversarial("none", "clean")
    assert torch.equal(clean.x_adv, clean.x)
    assert torch.equal(clean.x, x)


def test_without_an_attack_name_the_picked_adversarial_examples_are_returned(report: Report) -> None:
    picks = report.adversarial("noise")
    worst = report["noise"].result.worst_case
    assert picks.attacks == worst.picked
    assert picks.outcomes == worst.outcomes
    assert picks.attacks == report.adversarial("noise", "worst-case").attacks
    for row, name in enumerate(picks.attacks):
        assert torch.equal(picks.x_adv[row], report.adversarial("noise", name).x_adv[row])


def test_examples_of_an_object_in_memory_are_deleted_with_its_report(board: Board) -> None:
    dimmed = Function(lambda x: 0.9 * x, random=False)
    made = purebench.evaluate({"dimmed": dimmed}, board, images=2, progress=False)
    assert made.stored is not None
    place: Path = made.stored.path
    found = made.adversarial("dimmed", "apgd")
    assert isinstance(found, AdversarialExamples)
    assert len(found.x_adv) == 2
    assert place.exists()
    del made
    gc.collect()
    assert not place.exists()
    assert not place.parent.exists()


def test_unknown_names_and_skipped_attacks_are_rejected(report: Report) -> None:
    with pytest.raises(PurebenchError, match=r"'nois' is unknown; did you mean 'noise'"):
        report.adversarial("nois", "apgd")
    with pytest.raises(PurebenchError, match=r"the attack 'apdg' is unknown; did you mean 'apgd'"):
        report.adversarial("noise", "apdg")
    with pytest.raises(PurebenchError, match=r"for-random on none, but there are none \(for random defenses only\)"):
        report.adversarial("none", "for-random")


def test_a_report_without_its_store_raises_an_error(report: Report, tmp_path: Path) -> None:
    with pytest.raises(PurebenchError, match="this one has no store"):
        replace(report, stored=None).adversarial("none")
    stored = report.stored
    assert stored is not None
    moved = stored.path.rename(tmp_path / "elsewhere.sqlite")
    try:
        with pytest.raises(PurebenchError, match="but it no longer exists; evaluate again"):
            report.adversarial("none")
    finally:
        moved.rename(stored.path)


def test_images_that_errored_are_left_out(tmp_path: Path) -> None:
    """A defense errors on one image: examples, labels and positions of the other images still correspond."""
    board = load_board(write_board(tmp_path, images=4, attacks={"clean": {"use": "clean"}}))
    first = purebench.evaluate("none", board, store=tmp_path / "a", progress=False).adversarial("none", "clean")
    bad = float(first.x[1].sum())
    (tmp_path / "own.py").write_text(
        "import torch\nfrom purebench import Function\n\n"
        f"def mine():\n    bad = {bad}\n"
        "    return Function(lambda x: torch.where((x.sum((1, 2, 3), keepdim=True) - bad).abs() < 1e-2, "
        "x * float('nan'), x), random=False)\n",
        encoding="utf-8",
    )
    report = purebench.evaluate(f"{tmp_path}/own.py:mine", board, store=tmp_path / "b", progress=False)
    found = report.adversarial(report.rows[0].name, "clean")
    kept = [0, 2, 3]
    assert found.positions == tuple(np.array(first.positions)[kept].tolist())
    assert torch.equal(found.x_adv, first.x[kept])
    assert torch.equal(found.y, first.y[kept])
