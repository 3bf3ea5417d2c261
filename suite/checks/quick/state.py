"""Holds the state of a quick check and the result of a probe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from purebench.boards.board import Board, DefenseChoice
from purebench.checks.finding import CheckStatus
from purebench.core.compute.batching import DeviceBatch
from purebench.core.defense import Defense
from purebench.execution.context import Context

NEEDED = "seconds_needed"
"""Name of the number of seconds that a probe would have needed, which did not fit the time."""


@dataclass(frozen=True)
class Probe:
    """The result of one probe.

    Attributes:
        name: the name of the probe.
        result: HOLDS, FAILS, or UNDECIDED where the time was too short; None for a measurement, which cannot fail.
        sentence: the observations.
        numbers: the observations as plain values.
    """

    name: str
    result: CheckStatus | None
    sentence: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """True if something is wrong with the defense."""
        return self.result is CheckStatus.FAILS


@dataclass
class QuickCheck:
    """A defense under a quick check.

    Attributes:
        context: the board with this defense, prepared on dev images.
        board: the board itself.
        row: its row.
        end: the value of `time.monotonic` at which the time is over.
        seconds: seconds of a pass of one image in a batch, once measured.
        right: whether each of the first images was classified correctly.
        own_images: whether the images are the board's, because its data set has too few dev images.
        no_gradient: whether the gradient probe found that no gradient reaches the images.
    """

    context: Context
    board: Board
    row: DefenseChoice
    end: float
    seconds: float = 0.0
    right: list[bool] = field(default_factory=list)
    own_images: bool = False
    no_gradient: bool = False

    @property
    def defense(self) -> Defense:
        """The defense, which the probes do not call; they call copies."""
        return self.context.defenses[self.row.name]

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - time.monotonic()

    def fits(self, passes: float) -> bool:
        """Return whether this number of passes of the defense fits into the time that is left."""
        return passes * self.seconds < self.left

    def images(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first images [N,C,H,W] in [0,1] and their labels [N]."""
        part = self.context.images.take(range(min(count, len(self.context.images))))
        device = self.context.device
        return torch.as_tensor(part.floats()).to(device), torch.as_tensor(part.labels).to(device)

    def batch(self) -> DeviceBatch:
        """Return the device batch."""
        return DeviceBatch(self.context.device_batch(self.row.name))


def late(name: str, quick: QuickCheck, passes: float) -> Probe:
    """Return the result of a probe whose passes do not fit the time that is left."""
    needed = passes * quick.seconds
    told = f"about {needed:.0f} s for {passes:.0f} passes, but {max(quick.left, 0.0):.0f} s are left"
    return Probe(name, CheckStatus.UNDECIDED, f"not run: it needs {told}; increase --seconds", {NEEDED: needed})
