"""A chain of linear steps with noise as a purifier, whose Jacobians are known matrices, and a linear classifier."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from purebench.core.defense import Defense, Purifier, as_defense
from purebench.core.seeds import seeded
from purebench.defenses.diffusion.chain import draw_seeds, seeded_noise
from purebench.defenses.diffusion.plan import Mark, Plan

SHAPE = (1, 2, 3)
SIZE = math.prod(SHAPE)
LEVELS = (0.99, 0.993, 0.996, 1.0)
"""alpha-bar of the noised image and after each step; so little noise that no image leaves [0,1]."""


def matrices(words: str, count: int = len(LEVELS) - 1) -> list[torch.Tensor]:
    """Random matrices, not symmetric, with entries of mixed signs."""
    with seeded("matrices", words):
        return [torch.randn(SIZE, SIZE, dtype=torch.float64) / SIZE**0.5 for _ in range(count)]


class LinearChain(Purifier):
    """x_T = sqrt(level_T) (2x - 1) + sqrt(1 - level_T) ξ_T; x_{t-1} = A_t x_t + σ ξ_t."""

    random = True

    def __init__(self, steps, levels=LEVELS, sigma=0.02, checkpointed=True, shorter=None):
        super().__init__()
        self.matrices, self.levels, self.sigma = steps, levels, sigma
        self.checkpointed, self.shorter = checkpointed, shorter

    def plan(self, x):
        first, *seeds = draw_seeds(len(self.levels))
        kept = self.levels[0]
        plan = Plan(x, math.sqrt(kept) * (2 * x - 1) + math.sqrt(1 - kept) * seeded_noise(x, first))
        for left, matrix, seed, level in zip(
            reversed(range(len(seeds))), self.matrices, seeds, self.levels[1:], strict=True
        ):
            plan.add(partial(self.step, matrix=matrix, seed=seed), Mark(step=left, level=level, seed=first))
        return plan

    def step(self, state, matrix, seed):
        return (state.flatten(1) @ matrix.T.to(state)).view_as(state) + self.sigma * seeded_noise(state, seed)

    def forward(self, x):
        return self.plan(x).result(self.checkpointed)

    def trace(self, x):
        return self.plan(x).states(self.checkpointed)

    def shortened(self, steps=None, rounds=None):
        return self.shorter

    def jacobians(self):
        """Derivatives of the state after each step with respect to x, [SIZE,SIZE] each."""
        found, total = [], 2 * math.sqrt(self.levels[0]) * torch.eye(SIZE, dtype=torch.float64)
        for matrix in self.matrices:
            total = matrix @ total
            found.append(total)
        return found


class Inverting(LinearChain):
    """Every step removes exactly as much of the forward noise as its level says: the identity, through noise."""

    def plan(self, x):
        plan = super().plan(x)
        seed = plan.marks[0].seed
        for place, (now, then) in enumerate(zip(self.levels[:-1], self.levels[1:], strict=True)):
            plan.steps[place] = partial(self.remove, now=now, then=then, seed=seed)
        return plan

    def remove(self, state, now, then, seed):
        ratio = math.sqrt(then / now)
        return ratio * state + (math.sqrt(1 - then) - ratio * math.sqrt(1 - now)) * seeded_noise(state, seed)


class TwoClasses(nn.Module):
    """Logits (-w·x, w·x): class 1 where w·x > 0. The margin of class 0 is 2 w·x."""

    def __init__(self):
        super().__init__()
        with seeded("two classes"):
            self.weight = nn.Parameter(torch.randn(SIZE, dtype=torch.float64))

    def forward(self, x):
        score = x.flatten(1) @ self.weight.to(x)
        return torch.stack([-score, score], 1)


def linear_defense(**more) -> Defense:
    """A defense of a LinearChain and TwoClasses, with a surrogate of other matrices."""
    shorter = LinearChain(matrices("shorter", 1), levels=(LEVELS[0], 1.0))
    return as_defense(LinearChain(matrices("whole"), shorter=shorter, **more), TwoClasses())


def points(count: int = 5) -> torch.Tensor:
    """Images near mid grey, far from the borders of [0,1]."""
    with seeded("points"):
        return 0.5 + 0.05 * torch.randn(count, *SHAPE, dtype=torch.float64).clamp(-2, 2)
