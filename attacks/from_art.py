"""Any evasion attack of the Adversarial Robustness Toolbox over a view, by class name: `art:HopSkipJump(max_iter=10)`
(Nicolae et al. 2018, arXiv:1807.01069)."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purebench.attacks.view import View
from purebench.errors import PurebenchError, nearest
from purebench.threat import Knowledge, ThreatModel

ART_NORMS = {"linf": np.inf, "l2": 2}


def art_classes() -> dict[str, type]:
    """ART's evasion attack classes by name."""
    import art.attacks.evasion
    from art.attacks.attack import EvasionAttack

    return {
        name: found
        for name, found in vars(art.attacks.evasion).items()
        if inspect.isclass(found) and issubclass(found, EvasionAttack) and not inspect.isabstract(found)
    }


class ArtAttack:
    """An ART attack; norm and eps come from the threat where the attack has them, the rest from `options`."""

    knowledge = Knowledge.WHITE_BOX

    def __init__(self, name: str, options: dict[str, Any]):
        known = art_classes()
        if name not in known:
            raise PurebenchError(f"art: the attack {name!r} is unknown; {nearest(name, known)}")
        self.kind, self.options = known[name], options
        self.takes = inspect.signature(self.kind).parameters
        for key in options:
            if key not in self.takes:
                raise PurebenchError(f"art:{name}: the parameter {key!r} is unknown; {nearest(key, self.takes)}")

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """ART's answer; an attack without a radius (minimum-norm) is projected to the threat's."""
        from art.estimators.classification import PyTorchClassifier

        with torch.no_grad():
            classes = view.scores(x[:1]).shape[2]
        device = "gpu" if x.device.type == "cuda" else "cpu"
        classifier = PyTorchClassifier(
            model=view.as_module(),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type=device,
        )
        options: dict[str, Any] = {"verbose": False} if "verbose" in self.takes else {}
        if "norm" in self.takes:
            options["norm"] = ART_NORMS[threat.norm]
        if "eps" in self.takes:
            options["eps"] = threat.radius
        if "eps_step" in self.takes:
            options["eps_step"] = threat.radius / 4
        attack = self.kind(classifier, **options | self.options)
        answer = attack.generate(x=x.cpu().numpy(), y=y.cpu().numpy())
        found = torch.as_tensor(np.asarray(answer)).to(x)
        return found if "eps" in self.takes else threat.project(found, x)


def from_art(name: str, **options: Any) -> ArtAttack:
    """Any ART evasion attack by class name, at the board's norm and radius."""
    return ArtAttack(name, options)
