"""Compares two adversarial examples of each image on fresh draws of a defense: picks, a test, and a score.

Four kinds of draws are disjoint: those that pick the incumbent among the known examples of each image, those that pick
it or the submitted example, those of the paired test, and those that score the new picks if they are accepted. The
statistics are in `statistics.sequential.challenge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from purebench.core.answers import DefenseFault, WholeFault
from purebench.core.compute.batching import DeviceBatch
from purebench.core.errors import PurebenchError
from purebench.core.seeds import seeded
from purebench.execution.context import Context
from purebench.execution.jobs.verification import verify
from purebench.statistics.sequential.challenge import better_picks, challenge_p_value, paired_signs

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

TEST_SHARE = 4
"""Draws of the test for each draw of a score: the test is at a small level, and needs more."""


@dataclass(frozen=True)
class Compared:
    """The comparison of submitted examples with the incumbent ones.

    Attributes:
        picked: True where the submitted example was picked, bool [n].
        better: the number of pairs for the submission.
        worse: the number of pairs against it.
        p_value: of the test; 0 for a deterministic defense that misclassifies more images, which is certain.
    """

    picked: Bools
    better: int
    worse: int
    p_value: float


@dataclass(frozen=True)
class ChallengeDraws:
    """Draws of a defense at adversarial examples, from a seed that was not known before the submission.

    Attributes:
        context: the prepared board.
        row: the name of the row.
        y: the labels [n].
        seed: decides the draws.
    """

    context: Context
    row: str
    y: Tensor
    seed: int

    def strongest(self, known: Sequence[Tensor]) -> Tensor:
        """Return the known example of each image that the defense answers worst, the first of equal ones.

        Args:
            known: sets of examples [n,C,H,W] of the same images.

        Raises:
            PurebenchError: the defense fails on an example.
        """
        best = known[0]
        if len(known) == 1:
            return best
        fresh = self.context.board.fresh if self.context.pristine(self.row).random else 1
        right = self.ask(best, fresh, "known", "0")
        for place, other in enumerate(known[1:], 1):
            asked = self.ask(other, fresh, "known", str(place))
            better = better_picks(right, asked)
            best = torch.where(torch.as_tensor(better)[:, None, None, None], other, best)
            right = np.where(better[:, None], asked, right)
        return best

    def compare(self, incumbent: Tensor, submitted: Tensor) -> Compared:
        """Pick an example of each image, and test the picks on other draws.

        Args:
            incumbent: the incumbent examples [n,C,H,W].
            submitted: the submitted examples of the same images.

        Raises:
            PurebenchError: the defense fails on an example.
        """
        if not len(submitted):
            return Compared(np.zeros(0, dtype=bool), 0, 0, 1.0)
        random = self.context.pristine(self.row).random
        fresh = self.context.board.fresh if random else 1
        picked = better_picks(*(self.ask(x, fresh, "pick", name) for x, name in _named(incumbent, submitted)))
        if not picked.any():
            return Compared(picked, 0, 0, 1.0)
        rows = torch.as_tensor(picked)
        draws = TEST_SHARE * fresh if random else 1
        asked = [self.ask(x[rows], draws, "test", name, rows=rows) for x, name in _named(incumbent, submitted)]
        better, worse = paired_signs(asked[0], asked[1])
        certain = not random and better > worse
        return Compared(picked, better, worse, 0.0 if certain else float(challenge_p_value(better, worse)))

    def score(self, examples: Tensor) -> Floats:
        """Return the share of correct draws at each example, in [0,1], from draws that were not used before.

        Args:
            examples: images [n,C,H,W].

        Raises:
            PurebenchError: the defense fails on an example.
        """
        random = self.context.pristine(self.row).random
        found: Floats = self.ask(examples, self.context.board.fresh if random else 1, "score").mean(axis=1)
        return found

    def ask(self, x: Tensor, draws: int, *purpose: str, rows: Tensor | None = None) -> Bools:
        """Return whether each draw is correct, bool [n, draws]."""
        context, y = self.context, self.y if rows is None else self.y[rows]
        defense = context.pristine(self.row)
        batch = DeviceBatch(context.device_batch(self.row))
        try:
            with seeded("challenge", str(self.seed), *purpose, device=context.device):
                found = verify(defense, x.to(context.device), y.to(context.device), draws, batch)
        except (DefenseFault, WholeFault) as error:
            raise PurebenchError(f"{self.row}: the defense fails on the examples: {error}") from error
        answers: Bools = found.numpy()
        return answers


def _named(incumbent: Tensor, submitted: Tensor) -> tuple[tuple[Tensor, str], tuple[Tensor, str]]:
    return (incumbent, "incumbent"), (submitted, "submitted")
