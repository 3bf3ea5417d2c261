"""Measures whole boards with and without the folding of batch norms: `python benchmarks/speed.py --part folding`.

The built-in board fashion-quick, row by row; and its attacks apgd-exact and square on a ResNet-18, float32 and bf16, at
the board's radius and at one so small that no image is broken. The ResNet-18 has random weights and a last
layer fitted to the images. Time is user seconds of the processor on one thread, the minimum of several rounds in which
both alternate; it includes everything that a run does: contract checks, attacks, verification and records.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from reporting import Report, fixed, progress, text
from torch import Tensor, nn
from torch.nn import functional

from attack_parts.subjects import images, resnet18
from purebench import evaluate, load_board
from purebench.attacks.views.folding import Folding
from purebench.boards.board import Board
from purebench.boards.bundled import find_board
from purebench.core.seeds import seeded
from purebench.core.threat import parse_radius

BOARD = "fashion-quick"
ROWS = ("none", "jpeg", "mlvgm-cosine", "diffpure-ddpm")
ATTACKS = ("clean", "apgd-exact", "square")
RADII = ("16/255", "1e-6")
BAR = 1.3
"""Least speed-up of whole boards that justifies folding."""


class Widened(nn.Module):
    """A ResNet-18 on images of one channel [N,1,32,32], which is repeated three times."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [N,10]."""
        logits: Tensor = self.model(x.expand(-1, 3, -1, -1))
        return logits


@torch.no_grad()
def fitted(device: torch.device) -> nn.Module:
    """Return a ResNet-18 with random weights, whose last layer is fitted to the images by ridge regression."""
    x, y = images("fashion-mnist", device)
    with seeded("resnet18"):
        model = resnet18().to(device).eval().requires_grad_(False)
    head = model.fc
    assert isinstance(head, nn.Linear)
    model.fc = nn.Identity()
    wide = Widened(model).eval()
    features = torch.cat([wide(part) for part in x.split(100)])
    centre = features.mean(0)
    design, target = (features - centre).double(), functional.one_hot(y, 10).double() - 0.1
    damped = design.T @ design + 1e-3 * design.square().sum() / len(y) * torch.eye(design.shape[1], device=device)
    weight = torch.linalg.solve(damped, design.T @ target).float().T
    head.weight.copy_(10 * weight)
    head.bias.copy_(-10 * weight @ centre)
    model.fc = head
    return wide


def unfolded(classifier: Callable[[Tensor], Tensor], example: Tensor, **_: Any) -> Folding:
    """Fold nothing."""
    return Folding(classifier)


def user_seconds(work: Callable[[], object], folds: bool) -> float:
    """Return the user time of this process for one call, with or without folding."""
    without: AbstractContextManager[object] = patch("purebench.attacks.views.view.folded", unfolded)
    with nullcontext() if folds else without:
        began = os.times().user
        work()
        return os.times().user - began


def run(board: Board, defense: Any, count: int) -> None:
    """Run a board on one defense, with no stored results."""
    with TemporaryDirectory() as folder:
        store = Path(folder) / "store.sqlite" if isinstance(defense, str) else None
        evaluate(defense, board, images=count, store=store, progress=False)


def folding(report: Report, options: argparse.Namespace) -> None:
    """Measure the user seconds of whole boards with folding off and on."""
    count, repeats = options.images or 48, options.repeats or 3
    quick = load_board(find_board(BOARD))
    cases: list[tuple[str, Board, Any]] = [(f"{BOARD}, {row}", quick, row) for row in ROWS]
    few = replace(quick, attacks=tuple(attack for attack in quick.attacks if attack.name in ATTACKS))
    network = {"resnet18": fitted(options.device)}
    for precision in ("float32", "bf16"):
        for radius in RADII:
            threat = replace(few.threat, radius=parse_radius(radius))
            board = replace(few, threat=threat, attack_precision=precision)
            cases.append((f"ResNet-18, apgd-exact and square, {precision}, {radius}", board, network))
    cases = [case for case in cases if not options.case or any(part in case[0] for part in options.case)]
    rows: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("folding", total=len(cases) * (1 + 2 * repeats))
        for name, board, defense in cases:
            run(board, defense, 2)  # imports and first passes are not timed
            bar.advance(task)
            seconds: dict[bool, list[float]] = {True: [], False: []}
            for number in range(repeats):
                for folds in (True, False) if number % 2 else (False, True):
                    seconds[folds].append(user_seconds(lambda b=board, d=defense: run(b, d, count), folds))  # type: ignore[misc]
                    bar.advance(task)
            off, on = min(seconds[False]), min(seconds[True])
            rows.append({"name": name, "off": off, "on": on, "ratio": off / on})
            report.told(f"{name}: {off / on:.2f} × faster with folding (bar: {BAR})", off / on, met=off / on >= BAR)
    columns = (
        ("name", "", text),
        ("off", "folding off, s", fixed(1)),
        ("on", "folding on, s", fixed(1)),
        ("ratio", "off ÷ on", fixed(2)),
    )
    report.show(f"whole boards, {count} images, user seconds, least of {repeats}", rows, columns)
