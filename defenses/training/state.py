"""Budget and state of a training, with everything that is needed to resume it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from purebench.core.errors import PurebenchError
from purebench.defenses import checkpoints


@dataclass(frozen=True)
class Budget:
    """Budget of a training: `steps` if given, else `minutes`.

    Attributes:
        minutes: minutes of training time.
        steps: number of steps, instead of minutes.

    Raises:
        PurebenchError: If a value is not above 0.
    """

    minutes: float
    steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minutes < math.inf:
            raise PurebenchError(f"--minutes: expected a finite number above 0, but got {self.minutes}.")
        if self.steps is not None and self.steps < 1:
            raise PurebenchError(f"--steps: expected a number above 0, but got {self.steps}.")

    def share(self, state: State) -> float:
        """Return the share of the budget that is spent; 1 or more means that the training is over."""
        return state.seconds / (60 * self.minutes) if self.steps is None else state.step / self.steps

    def __str__(self) -> str:
        return f"--minutes {self.minutes:g}" if self.steps is None else f"--steps {self.steps}"


@dataclass
class State:
    """State of a training that is needed to resume it.

    Attributes:
        model: the trained model.
        average: model with the moving average of the weights.
        optimizer: the optimizer.
        seed: seed of the training.
        device: device of the training.
        settings: settings of the recipe, budget and kind of device by name; a state is resumed with the same ones only.
        step: number of steps taken.
        seconds: seconds of training time.
        log: rows of the log.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    seed: int
    device: torch.device
    settings: Mapping[str, Any]
    step: int = 0
    seconds: float = 0.0
    log: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the state to a file, atomically."""
        buffer = io.BytesIO()
        torch.save(
            {
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "settings": json.dumps({"seed": self.seed, **self.settings}),
                "step": self.step,
                "seconds": self.seconds,
                "log": self.log,
                "rng": torch.get_rng_state(),
                "rng_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            },
            buffer,
        )
        checkpoints.write(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        """Restore a saved state.

        Args:
            path: file that `save` wrote.

        Raises:
            PurebenchError: If the file is damaged, or belongs to a training with other settings.
        """
        settings = json.loads(json.dumps({"seed": self.seed, **self.settings}))
        try:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            began = json.loads(stored["settings"])
            if began == settings:
                self.model.load_state_dict(stored["model"])
                self.average.load_state_dict(stored["average"])
                self.optimizer.load_state_dict(stored["optimizer"])
                self.step, self.seconds, self.log = stored["step"], stored["seconds"], stored["log"]
                torch.set_rng_state(stored["rng"])
                if self.device.type == "cuda" and stored.get("rng_cuda") is not None:
                    torch.cuda.set_rng_state(stored["rng_cuda"], self.device)
        except Exception as error:  # a damaged pickle may raise anything
            raise PurebenchError(
                f"{path}: expected the state of this training, but got a damaged file or one of another version"
                f" ({type(error).__name__}); delete it to start anew, or name another --out."
            ) from error
        if began != settings:
            names = [name for name in {**began, **settings} if began.get(name) != settings.get(name)]
            there, here = (", ".join(f"{name} {one.get(name)}" for name in names) for one in (began, settings))
            raise PurebenchError(
                f"{path}: expected the state of this training, with {here}, but it began with {there}; continue with "
                "the same settings, delete the file to start anew, or name another --out."
            )
