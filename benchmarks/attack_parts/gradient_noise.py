"""Measures the signal-to-noise ratio of the gradient of random defenses at 1, 4 and 20 EOT samples.

    python benchmarks/attacks.py gradient-noise --board fashion-quick --images 16 --draws 64

The gradient of the cross-entropy through the whole defense is computed for `draws` draws at each image, at the clean
image and at a random point of the threat model. With the mean gradient μ over all draws and the total variance V of one
draw's gradient (the sum over pixels), the ratio at k EOT samples is |μ|² / (V / k). |μ|² is estimated without bias, as
the squared norm of the mean minus V / draws. Printed are ratios of sums over the images, and the cosine that a gradient
of k samples is expected to have with μ, sqrt(ratio / (1 + ratio)) to first order. A ratio below 1 means that the noise
is larger than the signal. Rows with deterministic defenses are left out.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from common.reporting import Report, fixed, parser, perform, progress, text
from torch import Tensor

from attack_parts.subjects import images as load
from purebench.attacks.gradient.losses import cross_entropy
from purebench.attacks.gradient.runs import random_start
from purebench.attacks.views.gradient_modes import exact
from purebench.boards.selection import choose
from purebench.core import registry
from purebench.core.defense import Defense, as_defense
from purebench.core.seeds import seeded
from purebench.core.threat import ThreatModel

SAMPLES = (1, 4, 20)


def ratio(gradients: Tensor) -> float:
    """Return the signal-to-noise ratio of one draw's gradient, a ratio of sums over images.

    gradients: [N,D,…], D draws of the gradient at N images, D ≥ 2.
    """
    flat = gradients.flatten(2).double()
    draws = flat.shape[1]
    noise = flat.var(1).sum()
    signal = flat.mean(1).square().sum() - noise / draws
    return float(signal / noise)


def drawn(defense: Defense, points: Tensor, y: Tensor, draws: int) -> Tensor:
    """Return the gradients of single draws, [N,D,C,H,W]."""
    view = exact(defense)
    return torch.stack([view.look(points, y, cross_entropy).gradient for _ in range(draws)], 1)


def measure(defense: Defense, x: Tensor, y: Tensor, threat: ThreatModel, draws: int) -> dict[str, float]:
    """Return the ratio of one draw at the images and at random points of the threat model."""
    return {
        "clean": ratio(drawn(defense, x, y, draws)),
        "random": ratio(drawn(defense, random_start(x, threat), y, draws)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure the random rows of a board and print a table."""
    made = parser(__doc__)
    made.add_argument("--board", default="fashion-quick", help="a bundled board on Fashion-MNIST")
    made.add_argument("--defense", action="append", help="a row of the board, or a spec; may be repeated (all)")
    made.add_argument("--images", type=int, default=16, help="the first so many images of the data set (16)")
    made.add_argument("--draws", type=int, default=64, help="draws of the gradient, at least 2 (64)")
    options = made.parse_args(arguments)

    def work(report: Report) -> None:
        board = choose(options.board, options.defense, None)
        x, y = (part[: options.images] for part in load("fashion-mnist", options.device))
        rows: list[dict[str, Any]] = []
        with progress() as bar:
            task = bar.add_task("gradients", total=len(board.defenses))
            for one in board.defenses:
                classifier = registry.create("classifiers", board.classifier)
                defense = as_defense(registry.create("defenses", one.use, classifier=classifier), classifier)
                if defense.random and not one.only_source:
                    with seeded("gradient noise", str(options.seed), device=options.device):
                        found = measure(defense.to(options.device), x, y, board.threat, options.draws)
                    for where, value in found.items():
                        row = {"name": one.name, "where": where}
                        row |= {f"eot {k}": k * value for k in SAMPLES}
                        row |= {f"cosine {k}": max(k * value / (1 + k * value), 0) ** 0.5 for k in SAMPLES}
                        rows.append(row)
                bar.advance(task)
        columns = [("name", "", text), ("where", "point", text)]
        columns += [(f"eot {k}", f"ratio, EOT {k}", fixed(2)) for k in SAMPLES]
        columns += [(f"cosine {k}", f"cosine, EOT {k}", fixed(2)) for k in SAMPLES]
        report.show(f"{board.name}: {options.images} images, {options.draws} draws", rows, columns)

    return perform("gradient noise", options, work)


if __name__ == "__main__":
    sys.exit(main())
