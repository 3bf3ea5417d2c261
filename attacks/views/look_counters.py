"""Counts what an attack on a random defense saw on the way: the wrong draws of each look at each image.

Some papers compute their robust accuracy from these draws, and not from fresh ones: DiffHammer (Wang et al. 2024)
prints the largest share of wrong draws of any look, and whether any draw of any look was wrong. The same counts at the
clean image, with equally many looks, show how much of such a figure is due to the number of looks alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from purebench.core.answers import LookCount

if TYPE_CHECKING:
    from purebench.attacks.views.view import View


class LookCounters:
    """Counts of the looks at N images; an image that leaves the attack early has fewer looks.

    Attributes:
        wrong: Wrong draws of each image, int64 [N].
        most: Largest share of wrong draws of one look, float64 [N].
        plurality_wrong: Whether the most frequent class of some look was wrong, bool [N].
        taken: By number of draws of a look, the number of such looks at each image, int64 [N].
    """

    def __init__(self, images: int):
        self.wrong = torch.zeros(images, dtype=torch.int64)
        self.most = torch.zeros(images, dtype=torch.float64)
        self.plurality_wrong = torch.zeros(images, dtype=torch.bool)
        self.taken: dict[int, Tensor] = {}

    def see(self, index: Tensor, logits: Tensor, y: Tensor) -> None:
        """Count one look at some images.

        Args:
            index: Which images, [M].
            logits: Logits of the look's draws, [M,draws,K].
            y: Labels of these images, [M].
        """
        rows, draws, classes = index.cpu(), logits.shape[1], logits.shape[2]
        answers, labels = logits.argmax(2).cpu(), y.cpu()
        wrong = (answers != labels[:, None]).sum(1)
        # of equally frequent classes the first one has the largest value
        votes = one_hot(answers, classes).sum(1) * classes - torch.arange(classes)
        self.wrong[rows] += wrong
        self.most[rows] = torch.maximum(self.most[rows], wrong.double() / draws)
        self.plurality_wrong[rows] |= votes.argmax(1) != labels
        self.taken.setdefault(draws, torch.zeros_like(self.wrong))[rows] += 1

    def at_clean(self, view: View, x: Tensor, y: Tensor) -> LookCounters:
        """Take the same looks, with the same numbers of draws, at the clean images; without gradients.

        Args:
            view: The view of the attack; its passes are counted.
            x: Clean images [N,C,H,W] in [0,1].
            y: Their labels [N].

        Returns:
            The counts at the clean images.
        """
        clean = LookCounters(len(self.wrong))
        for draws, looks in self.taken.items():
            for number in range(int(looks.max())):
                index = (looks > number).nonzero().squeeze(1).to(x.device)
                clean.see(index, view.scores(x[index], draws), y[index])
        return clean

    def by_image(self) -> list[LookCount]:
        """Return the counts of each image."""
        nothing = torch.zeros_like(self.wrong)
        looks = sum(self.taken.values(), nothing)
        draws = sum((count * draws for draws, count in self.taken.items()), nothing)
        columns = (looks, draws, self.wrong, self.most, self.plurality_wrong)
        return [LookCount(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]
