"""The rules by which DiffPure's reverse SDE is solved: ours, and those of the authors' release."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from purebench.defenses.parameters import require

TIMESTEPS = 1000
"""Timesteps of the networks in one unit of time."""
WIDTHS, STARTS, LABELS = ("integral", "start"), ("continuous", "discrete"), ("time", "floor")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules of the steps of the reverse SDE; the defaults are ours, and RELEASED are those of the authors' release.

    Attributes:
        width: beta over a step: its `integral`, or that at the `start` of the step times its length.
        last_noise: whether the last step adds noise too. In the release it does, and leaves noise of standard deviation
            0.0109 in the units of [-1,1] (1.4 grey levels) for t* = 0.1.
        end: time at which the last step ends, in [0,0.001].
        start: noise of t*: of the `continuous` SDE, or of DDPM's `discrete` schedule at the timestep 1000·t* - 1.
        label: timestep that the network is asked for: 1000·t - 1 (`time`), or 1000·t rounded down (`floor`). The
            release does the latter with guided-diffusion, in float32, so that t* = 0.15 begins at timestep 149.
    """

    width: str = "integral"
    last_noise: bool = False
    end: float = 0.0
    start: str = "continuous"
    label: str = "time"

    def __post_init__(self) -> None:
        """Raise PurebenchError if a value is unknown or out of range."""
        for name, known in (("width", WIDTHS), ("start", STARTS), ("label", LABELS)):
            value = getattr(self, name)
            require("diffpure-sde", value in known, f"{name} {' or '.join(known)}", **{name: value})
        require("diffpure-sde", 0 <= self.end <= 1 / TIMESTEPS, "end in [0,0.001]", end=self.end)

    def times(self, t: float, steps: int) -> list[float]:
        """Return the times of the steps, from t down to `end`.

        Where `end` is 0 they are evenly spaced. Otherwise steps of length t/steps are taken, and the last one is cut at
        `end`, as torchsde does in float32.

        Args:
            t: time of the first state, in [0.001,1].
            steps: number of steps.

        Returns:
            The times [steps+1].
        """
        if self.end == 0:
            return [t * (steps - step) / steps for step in range(steps + 1)]
        clock = torch.tensor(1 - t, dtype=torch.float32)  # the reverse SDE's own time, which rises
        last = torch.tensor(1 - self.end, dtype=torch.float32)
        found = [1 - clock]
        for _ in range(steps - 1):
            clock = clock + t / steps
            found.append(1 - clock)
        return [float(time) for time in (*found, 1 - last)]

    def timestep(self, now: float) -> float:
        """Return the timestep that the network is asked for at a time."""
        return math.floor(torch.tensor(now) * TIMESTEPS) if self.label == "floor" else TIMESTEPS * now - 1


OURS = Rules()
RELEASED = Rules(width="start", last_noise=True, end=1e-5, start="discrete")
"""Those of the release for CIFAR-10; for ImageNet the label is `floor`."""
