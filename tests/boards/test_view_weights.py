"""Tests that the weights of models that a view names are in the keys of its jobs, and change no other key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from purebench.boards.board import AttackChoice, Board
from purebench.boards.bundled import find_board
from purebench.boards.code_identity import code_of_board
from purebench.boards.jobs import Job, plan
from purebench.boards.parse import load_board
from purebench.core.registry import Spec
from purebench.execution.board_run import run_board
from purebench.execution.context import prepare
from purebench.records.provenance import versions

NET = """
from pathlib import Path
import numpy as np
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.as_tensor(np.load(Path(__file__).with_name("net.npy"))))
    def forward(self, x):
        return x.flatten(1) @ self.weight

def net():
    return Net()
"""
APGD = Spec("apgd", {"steps": 2})


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    train(path, 0)
    return path


def train(net: Path, seed: int) -> None:
    weights = np.random.default_rng(seed).standard_normal((32 * 32, 10)).astype(np.float32)
    np.save(net.with_name("net.npy"), weights)


def board(net: Path) -> Board:
    """Returns two rows under attacks whose views name the model, and under others."""
    there = f"stand-in(classifier='{net}:net')"
    plain = load_board(find_board("fashion-quick"))
    attacks = (
        AttackChoice("clean", Spec("clean")),
        AttackChoice("apgd", APGD, "exact"),
        AttackChoice("shorter", APGD, "surrogate"),
        AttackChoice("part", APGD, "inner(module=classifier)"),
        AttackChoice("transfer", APGD, there),
        AttackChoice("sequence", Spec("sequence", {"parts": [{"use": str(APGD), "gradient": there}]})),
    )
    rows = tuple(row for row in plain.defenses if row.name in ("none", "trades"))
    small = replace(plain.dataset, images=4, block=4)
    return replace(plain, name="small", dataset=small, attacks=attacks, defenses=rows, controls=(), effort=None)


def keys(made: Board) -> Mapping[tuple[str, str], str]:
    jobs = prepare(made).jobs()
    return {(job.defense.name, job.attack.name): job.key for job in jobs if isinstance(job, Job)}


def test_retrained_weights_change_the_keys_of_the_attacks_through_them_and_of_no_others(net: Path) -> None:
    made = board(net)
    before = keys(made)
    assert keys(made) == before
    train(net, 1)
    after = keys(made)
    changed = {place for place in before if before[place] != after[place]}
    assert changed == {(row.name, attack) for row in made.defenses for attack in ("transfer", "sequence")}


def test_keys_of_attacks_whose_views_name_no_model_are_those_without_the_hash(net: Path) -> None:
    context = prepare(board(net))
    hashes = [context.block(0).hash]
    old = plan(context.board, hashes, context.fingerprints, versions()["purebench"], code_of_board(context.board))
    pairs = zip(old, context.jobs(), strict=True)
    same = {one.attack.name for one, other in pairs if isinstance(one, Job) and one.key == other.key}
    assert same == {"clean", "apgd", "shorter", "part"}


def test_a_model_that_cannot_be_made_leaves_the_error_to_its_jobs(net: Path, tmp_path: Path) -> None:
    made = board(net)
    made = replace(made, attacks=made.attacks[4:5], defenses=made.defenses[:1])
    net.with_name("net.npy").unlink()
    _, records = run_board(made, tmp_path / "store", workers=1)
    assert "net.npy" in records[0].reasons[0]
