"""Small networks that tests compile, and what is compared of them: answers and gradients."""

from contextlib import nullcontext
from copy import deepcopy

import torch
from torch import nn

from purebench.core.compute.compiled import probe
from purebench.core.defense import Defense, Purifier
from purebench.defenses.diffusion.chain import run

LARGEST = 16


class Small(nn.Module):
    """A classifier of images [N,1,6,6]."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 3), nn.Linear(64, 3)

    def forward(self, x):
        return self.last(self.first(x).relu().flatten(1))


class Denoiser(nn.Module):
    """A network of images, times [N], a table of as many rows as it happens to have, and an option."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, t, table, *, scale=None):
        return 0.9 * x + 0.1 * self.first(x) * t.view(-1, 1, 1, 1) + table.mean()


class Denoised(Purifier):
    random = False

    def __init__(self, checkpointed=False):
        super().__init__()
        self.network, self.checkpointed = Denoiser(), checkpointed
        self.register_buffer("table", torch.arange(5.0) / 100)

    def forward(self, x):
        steps = [lambda state, t=t: self.network(state, state.new_full((len(state),), t), self.table) for t in (2, 1)]
        return run(x, steps, self.checkpointed)


class Smooth(Small):
    def forward(self, x):
        return super().forward(x).tanh()


class Climbing(Purifier):
    """Moves images along the gradient of a network, so that its own gradient needs a second derivative."""

    random = False

    def __init__(self):
        super().__init__()
        self.energy = Smooth()

    def forward(self, x):
        with torch.enable_grad():
            state = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.energy(state).sum(), state, create_graph=True)
        return x / 10 + 10 * slope


def found(defense, images, inside=lambda defense: nullcontext()):
    return probe(lambda: deepcopy(defense), images[:3], LARGEST, (Defense, Purifier), inside)


def answers(defense, x, context=None):
    leaf = x.clone().requires_grad_()
    with context or nullcontext():
        logits = defense(leaf)
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    return logits.detach(), gradient
