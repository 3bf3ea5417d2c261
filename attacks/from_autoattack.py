"""AutoAttack by its own package, over a view (Croce & Hein 2020, arXiv:2003.01690).

`rand` is APGD-CE and APGD-DLR with EOT 20 inside the package, so the view's own EOT is best left at 1. Upstream faults
that are contained here: it filters images by one pass of the model, also random ones (the runner verifies with fresh
draws), it reseeds the global generators (the job's fork restores them), and it takes its seed from the clock (here from
the job).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from purebench.attacks.view import View
from purebench.errors import PurebenchError, nearest
from purebench.threat import Knowledge, ThreatModel
from purebench.upstream import autoattack

VERSIONS = ("standard", "rand")
LEAST_CLASSES = {"standard": 4, "rand": 3}
"""Targeted DLR divides by a difference of the four largest logits, DLR of the three largest."""
NORM_NAMES = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack `standard` (APGD-CE, APGD-T, FAB-T, Square; deterministic defenses, at least 4 classes) or `rand`.

    Raises PurebenchError for fewer classes than its losses need (3 for `rand`).
    """

    name: str = "standard"
    knowledge: ClassVar[Knowledge] = Knowledge.WHITE_BOX

    def __post_init__(self) -> None:
        if self.name not in VERSIONS:
            raise PurebenchError(f"autoattack: the version {self.name!r} is unknown; {nearest(self.name, VERSIONS)}")

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """The package's adversarial images; an image it could not break comes back as it was."""
        classes = view.scores(x[:1], 1).shape[2]
        if classes < LEAST_CLASSES[self.name]:
            raise PurebenchError(
                f"autoattack:{self.name}: expected at least {LEAST_CLASSES[self.name]} classes for its DLR losses, "
                f"but got {classes}; use apgd with the loss ce or cw."
            )
        package = autoattack()
        seed = int(torch.randint(2**31 - 1, ()))
        attack = package.AutoAttack(
            view.as_module(),
            norm=NORM_NAMES[threat.norm],
            eps=threat.radius,
            version=self.name,
            device=x.device,
            seed=seed,
        )
        attack.verbose = False
        for part in (attack.apgd_targeted, attack.fab):  # the package assumes ten classes
            part.n_target_classes = min(part.n_target_classes, classes - 1)
        found, answers = attack.run_standard_evaluation(x, y, batch_size=min(len(x), view.batch.size))
        view.notes.append(f"autoattack's own verdict: {int((answers == y).sum())} of {len(y)} hold")
        adversarial: Tensor = found
        return adversarial


def from_autoattack(name: str = "standard") -> AutoAttack:
    """AutoAttack's own package: `autoattack:standard` or `autoattack:rand`."""
    return AutoAttack(name)
