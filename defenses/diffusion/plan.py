"""The plan of one purification: its steps with their noise, which give its result and its intermediate states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from purebench.core.defense.trace import State, from_signed, unclamped_from_signed
from purebench.defenses.diffusion.chain import Step, run, run_through, seeded_noise
from purebench.defenses.diffusion.sampling import diffuse


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Noise level, seed and position in the procedure of the state after a step.

    Attributes:
        step: steps of the round that follow.
        round: rounds that follow.
        level: alpha-bar of the state, a scalar in [0,1].
        seed: seed of the noise of the round's forward process; None if there is no forward process.
    """

    step: int
    round: int = 0
    level: Tensor | float = 1.0
    seed: int | None = None


@dataclass
class Plan:
    """The steps of one purification of images, with their noise drawn.

    Attributes:
        x: the purifier's input [N,C,H,W] in [0,1].
        start: the state before the first step, [N,kC,H,W]; the purified images come from its first C channels.
        to_image: maps the first C channels of the last state to the purified images in [0,1].
        earlier_image: maps the first C channels of an earlier state to the classifier's input. It does not clamp: many
            values of a noisy state lie outside [0,1], where a clamp has no gradient.
        steps: the steps.
        marks: what is known of the state after each step; None for a step after which no image is shown, such as one
            that adds the noise of a round.
    """

    x: Tensor
    start: Tensor
    to_image: Callable[[Tensor], Tensor] = from_signed
    earlier_image: Callable[[Tensor], Tensor] = unclamped_from_signed
    steps: list[Step] = field(default_factory=list)
    marks: list[Mark | None] = field(default_factory=list)

    def add(self, step: Step, mark: Mark | None = None) -> None:
        """Add a step."""
        self.steps.append(step)
        self.marks.append(mark)

    def result(self, checkpointed: bool) -> Tensor:
        """Return the purified images [N,C,H,W] in [0,1]; checkpointed: see `run`."""
        return self.to_image(self._own(run(self.start, self.steps, checkpointed)))

    def states(self, checkpointed: bool) -> Sequence[State]:
        """Return the states after the steps that have a mark; checkpointed: see `run`."""
        through, last = run_through(self.start, self.steps, checkpointed), len(self.steps) - 1
        return [
            State(
                state=self._own(state),
                step=mark.step,
                round=mark.round,
                to_image=self.to_image if place == last else self.earlier_image,
                scale=self._scalar(mark.level).sqrt(),
                refer=None if mark.seed is None else partial(self._reference, mark.level, mark.seed),
            )
            for place, (state, mark) in enumerate(zip(through, self.marks, strict=True))
            if mark is not None
        ]

    def _own(self, state: Tensor) -> Tensor:
        return state[:, : self.x.shape[1]]

    def _reference(self, level: Tensor | float, seed: int) -> Tensor:
        return diffuse(2 * self.x - 1, self._scalar(level), seeded_noise(self.x, seed))

    def _scalar(self, value: Tensor | float) -> Tensor:
        return torch.as_tensor(value, dtype=self.x.dtype, device=self.x.device)


def fewer(own: int, most: int | None) -> int:
    """Return the steps of a shortened purifier: at most `most`, or half of its own ones, rounded down, at least one.

    Args:
        own: steps of the purifier.
        most: largest number of steps; None for half of them.
    """
    return max(1, own // 2 if most is None else min(own, most))
