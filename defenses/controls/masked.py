"""Planted faults: a known classifier behind a fault that hides its gradients, of known robust accuracy.

Athalye et al. 2018 (arXiv:1802.00420) sort such faults into shattered, random, and vanishing or exploding gradients;
Tramèr et al. 2020 (arXiv:2002.08347) and Carlini et al. 2019 (arXiv:1902.06705) describe how evaluations miss them. A
fault that leaves every predicted class unchanged leaves the robust accuracy unchanged: it is that of the classifier
alone, which strong attacks bound from above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from purebench.core import registry
from purebench.core.defense import Defense
from purebench.core.defense.known_truth import Control, Truth
from purebench.core.defense.listed import listed
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel
from purebench.defenses.controls.faults import FAULTS, Fault


class Faulty(nn.Module):
    """A classifier behind a fault.

    Args:
        classifier: images [N,C,H,W] → logits [N,K].
        before: a purifier in front of it, None for none; part of the classifier for an attacker.
        fault: the fault.
    """

    def __init__(self, classifier: nn.Module, before: nn.Module | None, fault: Fault):
        super().__init__()
        self.classifier, self.before, self.fault = classifier, before, fault.make()

    def inner(self, x: Tensor) -> Tensor:
        """Return the logits [N,K] without the fault."""
        logits: Tensor = self.classifier(x if self.before is None else self.before(x))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N,K] with the fault."""
        logits: Tensor = self.fault(self.inner, x)
        return logits


class Masked(Defense):
    """A classifier behind a fault, and what is known of its robust accuracy.

    Args:
        classifier: the classifier.
        before: a purifier in front of it, None for none.
        fault: the fault.
        reference: the spec of the same defense without the fault.
    """

    kind = "masked"

    def __init__(self, classifier: nn.Module, before: nn.Module | None, fault: Fault, reference: str):
        super().__init__(Faulty(classifier, before, fault), random=fault.random)
        known = isinstance(classifier, Control) and before is None and not classifier.reference
        self.known = classifier if known else None
        self.hides, self.reference = fault.about, "" if known else reference

    def truth(self, x: Tensor, y: Tensor, threat: ThreatModel) -> Truth:
        """Return the truth of the wrapped classifier if it is known; else 0 and the upper bound of the reference.

        Args:
            x: images [N,C,H,W] in [0,1].
            y: labels [N].
            threat: the threat model.
        """
        if self.known is not None:
            assert isinstance(self.known, Control)
            return self.known.truth(x, y, threat)
        return Truth(torch.zeros(len(x), dtype=torch.float64), torch.full((len(x),), torch.nan, dtype=torch.float64))


@listed(
    random="varies",
    gradient="varies",
    surrogate="none",
    forwards=0,
    ms="varies",
    licence="MIT",
    source="Athalye et al. 2018, arXiv:1802.00420",
)
def masked(*, fault: str, classifier: str | Mapping[str, Any] | nn.Module) -> Masked:
    """Hide the gradients of a classifier by a planted fault: `masked(fault=detached, classifier=fashion-trades)`.

    Args:
        fault: name of the fault (docs/controls.md lists them).
        classifier: a registered classifier as it is written on a board; the board's classifier by default.

    Raises:
        PurebenchError: the fault is unknown, or the classifier cannot be created.
    """
    if fault not in FAULTS:
        raise PurebenchError(f"masked: the fault {fault!r} is unknown; {did_you_mean(str(fault), FAULTS)}")
    chosen, model, spec = FAULTS[fault], classifier, None
    if not isinstance(model, nn.Module):
        spec = Spec.parse(model)
        model = registry.create("classifiers", spec)
    before = registry.create("defenses", Spec.parse(chosen.before)) if chosen.before else None
    return Masked(model, before, chosen, _reference(chosen.before or "none", spec))


def _reference(purifier: str, classifier: Spec | None) -> str:
    if classifier is None:
        return purifier
    return str(Spec("before", {"purifier": purifier, "classifier": classifier.plain()}))
