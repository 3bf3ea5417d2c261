"""A small noise predictor for the tests in this folder, and a function that purifies under a seed."""

from __future__ import annotations

import weakref

import torch
from torch import nn

from purebench.core.seeds import seeded


class Smooth(nn.Module):
    """A small smooth noise predictor that depends on neighbouring pixels and on the timestep.

    It keeps weak references to its hidden features to count how many are alive at the same time.
    """

    def __init__(self, depth: int = 1):
        super().__init__()
        with seeded("smooth"):
            self.first = nn.Conv2d(1, 6, 3, padding=1)
            self.hidden = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(depth))
            self.last = nn.Conv2d(6, 1, 3, padding=1)
        self.alive: list[weakref.ref] = []
        self.calls = self.most_alive = 0

    def forward(self, x, t):
        self.calls += 1
        state = torch.tanh(self.first(x) + (t.to(x.dtype) / 500).sin().view(-1, 1, 1, 1))
        for layer in self.hidden:
            state = torch.tanh(layer(state))
        self.alive = [one for one in self.alive if one() is not None] + [weakref.ref(state)]
        self.most_alive = max(self.most_alive, len(self.alive))
        return self.last(state)


def answer(purifier, images, words="purifiers"):
    with seeded(words):
        return purifier(images)
