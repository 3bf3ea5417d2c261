"""An attack that knows the randomness, and one on the unknown randomness that starts from what the first one found.

Liu et al. 2025 (ADDT, arXiv:2404.14309) ask how much of a random purifier's robustness is due to the attacker not
knowing the noise: they fix all noise of an image, attack with PGD through the exact gradient, and evaluate *under the
same noise*. Here the defense is frozen under each of several seeds (`purebench.core.defense.frozen`), and the counts of
right answers are reported beside the accuracy under unknown noise. They are no attack on the defense itself.

The difference to the accuracy under unknown noise may also be due to optimisation: with one fixed noise the gradient
has no variance. The frozen examples are therefore starting points of an attack with EOT on the unknown noise. That
attack's points are returned, so that they count as those of every attack.

Differences to the paper: it uses one seed, and reports the last of 20 steps even if an earlier point was misclassified.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.best import FRESH, Best, rows
from purebench.attacks.entry import listed
from purebench.attacks.gradient import losses
from purebench.attacks.gradient.pgd import check_dense, normalised
from purebench.attacks.native import NativeAttack
from purebench.attacks.views.smoothed import Smoothed
from purebench.attacks.views.view import View
from purebench.core.answers import Answer, Inapplicable
from purebench.core.defense import frozen
from purebench.core.errors import PurebenchError
from purebench.core.norms.norms import NORMS
from purebench.core.parameters import Count, CountOrZero, NonNegative, Positive
from purebench.core.seeds import at_seed
from purebench.core.threat import Knowledge, ThreatModel

SEEDS = 2**62
"""The seeds are whole numbers below this one."""


def frozen_view(view: View, seed: int) -> View:
    """Return a view of the defense under known randomness, with counters of its own and the device batch of the view.

    Args:
        view: A view of a random defense, in any gradient mode.
        seed: Seed of every call.
    """

    def purify(x: Tensor) -> Tensor:
        with at_seed(seed):
            return view.purify(x)

    made = replace(view, defense=frozen(view.defense, seed), purify=purify, random=False, precision="float32")
    return replace(made, compiled=None, forwards=0, backwards=0, looked=0, flat=0, not_finite=0, counters=None)


@listed("knows the noise; then starts from what it found", norms="linf l2", sees="white-box", bounded=True)
@dataclass(frozen=True, kw_only=True)
class KnownRandomness(NativeAttack):
    """PGD on a random defense whose noise is known, under several seeds; then EOT steps on unknown noise from there.

    All images stay in the batch to the end, because the noise of an image depends on the layout of the batch. An image
    that is misclassified under the known noise is not moved further.

    Attributes:
        steps: Gradient steps under each seed; one draw each.
        seeds: Number of seeds per image.
        step: Length of a step as a share of the radius (0.25 is 2/255 at 8/255).
        loss: Name of the loss.
        then: Gradient steps with EOT on the unknown noise, from the best frozen example; 0 for none.
        momentum: Decay of the sum of normalised gradients in these.
    """

    steps: Count = 20
    seeds: Count = 8
    step: Positive = 0.25
    loss: str = "ce"
    then: CountOrZero = 20
    momentum: NonNegative = 0.9
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        super().__post_init__()
        losses.find(self.loss)

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack supports a threat model.

        Raises:
            PurebenchError: If the norm is l1, where the steepest step moves a single pixel.
        """
        check_dense("known-randomness", threat)

    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Return the points found for the unknown noise, and the counts of right answers under the known noise.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Raises:
            Inapplicable: If the defense is deterministic, so that there is no noise to know.
            PurebenchError: If the norm is l1 (see `check`), or the view leaves the purifier out.
        """
        self.check(threat)
        if not view.defense.random:
            raise Inapplicable("the defense has no randomness that an attacker could know")
        if view.changes_loss or isinstance(view, Smoothed):
            raise Inapplicable("the view changes the gradient or its loss; run this attack with the gradient exact")
        if not view.decides:
            raise PurebenchError(
                "known-randomness: expected a view of the whole defense, but got one without the purifier; use "
                "gradient exact or bpda."
            )
        best, everyone = Best(view, x, y), torch.arange(len(x), device=x.device)
        known_right = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        start, fewest = x, torch.full((len(x),), torch.inf, device=x.device)
        for seed in torch.randint(SEEDS, (self.seeds,)).tolist():
            points, right = self._under(view, seed, x, y, threat)
            known_right += right
            unknown = (view.scores(points, FRESH).argmax(2) == y[:, None]).sum(1)
            better = unknown < fewest
            start, fewest = torch.where(rows(better, x), points, start), torch.where(better, unknown.float(), fewest)
        best.settle(everyone, start, torch.zeros_like(fewest))
        self._onwards(view, x, y, threat, start, best)
        return Answer(best.points(), known_right=known_right.tolist(), known_seeds=self.seeds)

    def _under(self, view: View, seed: int, x: Tensor, y: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Return the points [N,C,H,W] found under one seed, and whether the frozen defense is right there, bool [N].

        If the device runs out of memory, the batch is divided otherwise, and its noise is another one: the seed is then
        attacked again from the start.
        """
        loss, project, direction = losses.find(self.loss), threat.around(x), NORMS[threat.norm].direction
        while True:
            size, known, point = view.batch.size, frozen_view(view, seed), x
            for _ in range(self.steps):
                look = known.look(point, y, loss)
                ahead = project(direction(look.gradient).mul_(self.step * threat.radius).add_(point))
                wrong = look.logits[:, 0].argmax(1) != y
                point = torch.where(rows(wrong, x), point, ahead)
            right = known.scores(point)[:, 0].argmax(1) == y
            view.forwards += known.forwards
            view.backwards += known.backwards
            if view.batch.size == size:
                break
        view.looked, view.flat = view.looked + known.looked, view.flat + known.flat
        view.not_finite, view.warned = view.not_finite + known.not_finite, known.warned
        return point, right

    def _onwards(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, start: Tensor, best: Best) -> None:
        """Attack the unknown noise from the frozen examples: steps with momentum, whose length falls to zero."""
        loss, direction = losses.find(self.loss), NORMS[threat.norm].direction
        index, point, heading = best.open.nonzero().squeeze(1), start, torch.zeros_like(x)
        project = threat.around(x)
        for k in range(self.then):
            if not len(index):
                return
            look = view.look(point, y[index], loss)
            stay = best.see(index, point, look.loss, look.logits)
            heading = self.momentum * heading + normalised(look.gradient)
            length = self.step * threat.radius * (1 - k / self.then)
            point = project(direction(heading).mul_(length).add_(point))
            if not bool(stay.all()):
                index, point, heading = index[stay], point[stay], heading[stay]
                project = threat.around(x[index])
        if self.then:
            best.settle(index, point, torch.zeros(len(index), device=x.device))
