"""A RobustBench zoo with a tiny model and without network access."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from purebench.integrations.robustbench import zoo

NAME = "Tiny2026Test"


class Tiny(nn.Module):
    """A smooth network with the shapes of a zoo model: 3×32×32 → 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 16), nn.SiLU(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = 4 * self.layers(2 * x - 1)
        return logits


def save(
    model: nn.Module,
    folder: Path,
    name: str = NAME,
    threat_model: str = "Linf",
    ending: str = "",
    wrap: Callable[[dict[str, Any]], Any] = dict,
) -> Path:
    """Writes a checkpoint for CIFAR-10 in the zoo's layout; `wrap` converts the state dict to the saved object."""
    path = folder / "cifar10" / threat_model / f"{name}.pt{ending}"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(wrap(model.state_dict()), path)
    return path


@contextmanager
def tiny_in_the_zoo() -> Iterator[pytest.MonkeyPatch]:
    """Adds Tiny2026Test to the models of RobustBench for CIFAR-10, and makes every network access fail."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("purebench reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        for threat_model in ("Linf", "L2"):
            listed = zoo.models("cifar10", threat_model)
            patch.setitem(listed, NAME, {"model": Tiny, "gdrive_id": "not-published"})  # type: ignore[arg-type]
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(urllib.request, "urlopen", refuse)
        yield patch
