"""Any evasion attack of the Adversarial Robustness Toolbox over a view, by class name: `art:HopSkipJump(max_iter=10)`
(Nicolae et al. 2018, arXiv:1807.01069)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purebench.attacks.view import View
from purebench.errors import PurebenchError, nearest
from purebench.threat import Knowledge, ThreatModel

ART_NORMS = {"linf": np.inf, "l2": 2}
FIXED_NORMS = {
    "BasicIterativeMethod": "linf",
    "BoundaryAttack": "l2",
    "CarliniL0Method": "l0",
    "CarliniL2Method": "l2",
    "CarliniLInfMethod": "linf",
    "DeepFool": "l2",
    "ElasticNet": "l1",
    "NewtonFool": "l2",
    "PixelAttack": "l0",
    "SaliencyMapMethod": "l0",
    "SignOPTAttack": "l2",
    "SimBA": "l2",
    "ThresholdAttack": "linf",
    "VirtualAdversarialMethod": "l2",
    "Wasserstein": "Wasserstein",
    "ZooAttack": "l2",
}
"""The norm of attacks that let none be chosen; an attack that is not here and takes no norm measures none."""
FIRST_STEPS = {"AutoProjectedGradientDescent": 2.0, "AutoConjugateGradient": 2.0, "RescalingAutoConjugateGradient": 2.0}
"""The methods that shorten their step begin with twice the radius, as their papers do; `eps_step` in radii."""
STEP = 0.25


def art_classes() -> dict[str, type]:
    """ART's evasion attack classes by name."""
    import art.attacks.evasion
    from art.attacks.attack import EvasionAttack

    return {
        name: found
        for name, found in vars(art.attacks.evasion).items()
        if inspect.isclass(found) and issubclass(found, EvasionAttack) and not inspect.isabstract(found)
    }


class SeededState(np.random.RandomState):
    """A state that takes its seed, if none is given, from numpy's global generator and not from the system."""

    def __init__(self, seed: Any = None):
        super().__init__(np.random.randint(2**31 - 1) if seed is None else seed)


@contextmanager
def seeded_states() -> Iterator[None]:
    """Makes every new `np.random.RandomState()` a SeededState.

    ART's HopSkipJump and BoundaryAttack draw their starting images from such a state, which no seed would reach.
    """
    original = np.random.RandomState
    np.random.RandomState = SeededState  # type: ignore[misc]
    try:
        yield
    finally:
        np.random.RandomState = original  # type: ignore[misc]


class ArtAttack:
    """An ART attack; norm and eps come from the threat where the attack has them, the rest from `options`."""

    knowledge = Knowledge.WHITE_BOX

    def __init__(self, name: str, options: dict[str, Any]):
        known = art_classes()
        if name not in known:
            raise PurebenchError(f"art: the attack {name!r} is unknown; {nearest(name, known)}")
        self.name, self.kind, self.options = name, known[name], options
        self.takes = inspect.signature(self.kind).parameters
        for key in options:
            if key not in self.takes:
                raise PurebenchError(f"art:{name}: the parameter {key!r} is unknown; {nearest(key, self.takes)}")

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """ART's answer; an attack without a radius (minimum-norm) is projected to the threat's.

        Raises PurebenchError if the attack's norm is not the threat's.
        """
        from art.estimators.classification import PyTorchClassifier

        options = self.settings(threat)
        classifier = PyTorchClassifier(
            model=view.as_module(),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=view.scores(x[:1], 1).shape[2],
            clip_values=(0.0, 1.0),
            device_type="gpu" if x.device.type == "cuda" else "cpu",
        )
        with seeded_states():
            answer = self.kind(classifier, **options).generate(x=x.cpu().numpy(), y=y.cpu().numpy())
        found = torch.as_tensor(np.asarray(answer)).to(x)
        return found if "eps" in self.takes else threat.project(found, x)

    def settings(self, threat: ThreatModel) -> dict[str, Any]:
        """The attack's keyword arguments for a threat. Raises PurebenchError if it measures another norm."""
        mine = FIXED_NORMS.get(self.name, threat.norm if "norm" in self.takes else "no norm")
        wanted = ART_NORMS[threat.norm]
        if mine == threat.norm and self.options.get("norm", wanted) not in (wanted, str(wanted)):
            mine = f"norm={self.options['norm']!r}"
        if mine != threat.norm:
            raise PurebenchError(f"art:{self.name}: expected an attack in {threat.norm}, but it measures {mine}.")
        settings = {
            "verbose": False,
            "norm": wanted,
            "eps": threat.radius,
            "eps_step": FIRST_STEPS.get(self.name, STEP) * threat.radius,
        }
        return {key: value for key, value in settings.items() if key in self.takes} | self.options


def from_art(name: str, **options: Any) -> ArtAttack:
    """Any ART evasion attack by class name, at the board's norm and radius."""
    return ArtAttack(name, options)
