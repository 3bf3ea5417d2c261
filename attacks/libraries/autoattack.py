"""AutoAttack by its own package, over a view (Croce & Hein 2020, arXiv:2003.01690; l1: 2021, arXiv:2103.01208).

The versions `standard`, `plus` and `rand`, and each of their parts by name. On a view that is not random this is the
package's `run_standard_evaluation`, and breaks the same images. Upstream faults that are worked around: it drops random
images at the first lucky pass before, between and inside its attacks (here every part attacks every image, and fresh
draws choose among the points); it assumes ten classes, and takes its seed from the clock; it leaves Python's tracing
switched on if the defense fails. `rand` averages 20 passes inside the package, so the view's own EOT is best left at 1.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from purebench.attacks.best import rows
from purebench.attacks.catalogue import find
from purebench.attacks.gradient.losses import others
from purebench.attacks.libraries.model_wrapper import Asked, overheard
from purebench.attacks.views.view import View
from purebench.core.answers import Answer, Inapplicable
from purebench.core.parameters import CheckedParameters, Count
from purebench.core.third_party import autoattack
from purebench.core.threat import Knowledge, ThreatModel

VERSIONS = ("standard", "plus", "rand")
FOR_RANDOM = ("rand", "apgd-ce", "apgd-dlr", "apgd-t")
"""Attacks that can average passes; the other parts search along single answers."""
LEAST_CLASSES = {"standard": 4, "plus": 4, "rand": 3, "apgd-dlr": 3, "apgd-t": 4}
"""Fewest classes. Targeted DLR divides by a difference of the four largest logits, DLR of the three largest; the others
need two."""
EOT = 20
"""Passes that `rand` averages over."""
FRESH = 16
"""Fresh draws that choose among the points of an image; as many again decide the attack's claim."""


@dataclass(frozen=True, kw_only=True)
class AutoAttack(CheckedParameters):
    """A version of AutoAttack, or one of its parts with the settings of `standard` (of `rand` on a random view).

    Attributes:
        name: Name of the version or the part.
        steps: Steps of Auto-PGD and FAB; None for 100.
        n_queries: Queries of Square; None for 5000.
        eot: Passes that Auto-PGD averages; None for 20 in `rand` and for 1 elsewhere.

    Raises:
        PurebenchError: If the name is unknown, or a value is not a whole number of at least one.
    """

    name: str = "standard"
    steps: Count | None = None
    n_queries: Count | None = None
    eot: Count | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        find("autoattack", self.name)

    @property
    def knowledge(self) -> Knowledge:
        """Knowledge that the attack uses of the defense."""
        return find("autoattack", self.name).knowledge

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Run the package's attack.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Returns:
            The package's adversarial images and its claims; an image that it could not break is returned unchanged. On
            a random view: the point that was wrong on most fresh draws, and whether it is wrong on most of as many
            others.

        Raises:
            Inapplicable: On a random view, except for `rand` and Auto-PGD; on a deterministic view that does not
                decide; and if there are fewer classes than the losses need.
        """
        if view.random and self.name not in FOR_RANDOM:
            raise Inapplicable(
                f"autoattack:{self.name}: expected a deterministic defense, but got a random one; use autoattack:rand"
            )
        if not view.decides and not view.random:
            raise Inapplicable(
                f"autoattack:{self.name}: expected a view of the whole defense, but got one that does not decide: the "
                "package returns the image itself where this view withstands; use apgd, which takes all its steps"
            )
        if not len(x):
            return Answer(x, claims=torch.zeros_like(y, dtype=torch.bool))
        classes = view.scores(x[:1], 1).shape[2]
        least = LEAST_CLASSES.get(self.name, 2)
        if classes < least:
            raise Inapplicable(
                f"autoattack:{self.name}: expected at least {least} classes for its DLR losses, but got {classes}; "
                "use apgd with the loss ce or cw"
            )

        asked = Asked(view, x, y)

        def unfiltered(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return most_wrong(view, labels, tries(self.package(view, asked, threat, classes), view, images, labels))

        with untraced(), overheard(view, "auto-attack", "autoattack"):
            if view.random:
                found, broken = view.batch.map(unfiltered, x, y)
            else:
                found, answers = self.package(view, asked, threat, classes).run_standard_evaluation(
                    x, y, batch_size=min(len(x), view.batch.size)
                )
                broken = answers != y
        asked.tell()
        return Answer(found, claims=broken)

    def package(self, view: View, model: nn.Module, threat: ThreatModel, classes: int) -> Any:
        """Return the package's attack on a module, set up for a threat model.

        Its seed is drawn from torch's generator.

        Args:
            view: The defense as the attack sees it.
            model: The view as a module.
            threat: The threat model.
            classes: Number of classes.
        """
        whole = self.name in VERSIONS
        attack = autoattack().AutoAttack(
            model,
            norm=threat.norm.capitalize(),  # Linf, L2, L1
            eps=threat.radius,
            version=self.name if whole else "rand" if view.random else "standard",
            device=next(model.parameters()).device,
            seed=int(torch.randint(2**31 - 1, ())),
        )
        attack.verbose = False
        if not whole:
            attack.attacks_to_run = [self.name]
        for part in (attack.apgd_targeted, attack.fab):
            part.n_target_classes = min(part.n_target_classes, classes - 1)
        if view.random:
            attack.apgd_targeted.eot_iter = EOT
        for part in (attack.apgd, attack.apgd_targeted):
            part.eot_iter = self.eot or part.eot_iter
            if self.steps is not None:
                shorten(part, self.steps)
        attack.fab.n_iter = self.steps or attack.fab.n_iter
        attack.square.n_queries = self.n_queries or attack.square.n_queries
        return attack


def shorten(part: Any, steps: int) -> None:
    """Set the steps of the package's Auto-PGD, and the checkpoints that follow from them (section 3.2 of the paper)."""
    part.n_iter = part.n_iter_orig = steps
    part.n_iter_2, part.n_iter_min, part.size_decr = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))


def tries(package: Any, view: View, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Yield the points of every Auto-PGD run of the package on all images.

    Args:
        package: The package's attack.
        view: The defense as the attack sees it.
        x: Images [N,C,H,W] in [0,1].
        y: Labels [N].

    Yields:
        Points [N,C,H,W]: of each run, those with the largest loss and the last misclassified ones.
    """
    for name in package.attacks_to_run:
        part = package.apgd_targeted if name == "apgd-t" else package.apgd
        part.init_hyperparam(x)
        if name == "apgd-t":
            likely = others(view.scores(x, FRESH).mean(1), y).argsort(1, descending=True)
            targets = list(likely[:, : part.n_target_classes].T)
        else:
            part.loss, targets = name.removeprefix("apgd-"), [None]
        for target in targets:
            part.y_target = target
            for _ in range(part.n_restarts):
                strongest, _, _, wrong = part.attack_single_run(x, y)
                yield strongest.detach()
                yield wrong.detach()


def most_wrong(view: View, y: Tensor, points: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the point of each image that was wrong on most fresh draws.

    Args:
        view: The defense as the attack sees it.
        y: Labels [N].
        points: Candidates, [N,C,H,W] each.

    Returns:
        The points [N,C,H,W], and whether each is wrong on most of as many other fresh draws, bool [N].
    """

    def wrong(images: Tensor) -> Tensor:
        return (view.scores(images, FRESH).argmax(2) != y[:, None]).sum(1)

    found = next(points)
    most = wrong(found)
    for point in points:
        now = wrong(point)
        found, most = torch.where(rows(now > most, found), point, found), torch.maximum(now, most)
    return found, wrong(found) > FRESH / 2


@contextmanager
def untraced() -> Iterator[None]:
    """Restore Python's tracing afterwards."""
    trace = sys.gettrace()
    try:
        yield
    finally:
        sys.settrace(trace)


def from_autoattack(
    name: str = "standard", *, steps: Count | None = None, n_queries: Count | None = None, eot: Count | None = None
) -> AutoAttack:
    """Return AutoAttack's own package: `autoattack:standard`, `plus`, `rand`, or a part such as `apgd-t` or `fab-t`.

    Args:
        name: Name of the version or the part.
        steps: Steps of Auto-PGD and FAB; None for 100.
        n_queries: Queries of Square; None for 5000.
        eot: Passes that Auto-PGD averages; None for 20 in `rand` and for 1 elsewhere.
    """
    return AutoAttack(name=name, steps=steps, n_queries=n_queries, eot=eot)
