"""Adapter of AutoAttack to RobustBench's arguments, which also records its inputs and outputs.

RobustBench 1.1.1 calls AutoAttack as its repository on GitHub defines it, but depends on pyautoattack, the same attacks
behind other arguments: where these two are installed, `robustbench.benchmark` ends in a TypeError. `Watched` takes
RobustBench's arguments and passes on those of the installed package.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core import third_party
from purebench.integrations.robustbench.saved_batches import SavedBatches


class Watched:
    """AutoAttack with the signature that RobustBench calls; keeps its inputs and outputs.

    Args:
        version: Version of AutoAttack.
        seed: Seed of AutoAttack.
        saved: Keeps the results of the batches; None for no such record.
    """

    def __init__(self, version: str, seed: int, saved: SavedBatches | None = None):
        self.package, self.version, self.seed, self.saved = third_party.autoattack(), version, seed, saved

    def __call__(self, model: nn.Module, *, norm: str, eps: float, device: torch.device, **_: Any) -> Watched:
        """Make the attack, as RobustBench does before each run; its version and seed are ours."""
        self.attack = self.package.AutoAttack(
            model, norm=norm, eps=eps, version=self.version, device=device, seed=self.seed
        )
        if self.saved is not None:
            self.saved.attach(self.attack, model)
        return self

    def run_standard_evaluation(self, x: Tensor, y: Tensor, *, bs: int, **_: Any) -> Tensor:
        """Run the attack.

        Args:
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            bs: Batch size, under the name that RobustBench uses; pyautoattack has another one.
            **_: Ignored.

        Returns:
            Adversarial images [N,C,H,W].
        """
        renamed = self.package.__name__ == "pyautoattack"
        options: dict[str, Any] = {"batch_size": bs} if renamed else {"bs": bs, "return_labels": True}
        self.x, self.y = x, y
        self.adversarial, self.answers = self.attack.run_standard_evaluation(x, y, **options)
        found: Tensor = self.adversarial
        return found


class Listener(io.TextIOBase):
    """A stream that passes on the lines that RobustBench prints and AutoAttack logs, and keeps the warnings.

    Args:
        hand_on: Called with each line.
    """

    def __init__(self, hand_on: Callable[[str], None]):
        self.hand_on, self.warnings = hand_on, list[str]()

    def write(self, text: str) -> int:
        """Pass on the lines of a text, and keep warnings.

        Args:
            text: One or more lines.

        Returns:
            The number of characters.
        """
        for line in filter(None, map(str.strip, text.splitlines())):
            if line.upper().startswith("WARNING"):
                self.warnings.append(f"AutoAttack warns: {line[7:].strip(': ')}")
            self.hand_on(line.removeprefix("DEBUG ").removeprefix("INFO "))
        return len(text)


@contextlib.contextmanager
def instead_of_autoattack(package: Any, watched: Watched, listener: Listener) -> Iterator[None]:
    """Replace RobustBench's AutoAttack, and redirect its output and log, inside a `with` block.

    Args:
        package: The module robustbench.
        watched: The replacement of AutoAttack.
        listener: Receives all output.
    """
    logger, handler = logging.getLogger("auto-attack"), logging.StreamHandler(listener)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    own, level, package.eval.AutoAttack = package.eval.AutoAttack, logger.level, watched
    heard = logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        with contextlib.redirect_stdout(listener):
            yield
    finally:
        package.eval.AutoAttack = own
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = heard
