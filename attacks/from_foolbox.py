"""Any Foolbox attack over a view, by class name: `foolbox:LinfPGD(steps=20)` (Rauber et al. 2020, arXiv:1707.04131)."""

from __future__ import annotations

import inspect
import math
from typing import Any

from torch import Tensor

from purebench.attacks.view import View
from purebench.errors import PurebenchError, nearest
from purebench.threat import Knowledge, ThreatModel

FOOLBOX_NORMS = {"linf": math.inf, "l2": 2}


def foolbox_classes() -> dict[str, type]:
    """Foolbox's concrete attack classes by name."""
    import foolbox.attacks
    from foolbox.attacks.base import Attack

    return {
        name: found
        for name, found in vars(foolbox.attacks).items()
        if inspect.isclass(found) and issubclass(found, Attack) and not inspect.isabstract(found)
    }


class FoolboxAttack:
    """A Foolbox attack run at the threat's radius; its constructor takes the given keyword arguments.

    The threat's norm is handed to the attacks that let one be chosen.
    """

    knowledge = Knowledge.WHITE_BOX

    def __init__(self, name: str, options: dict[str, Any]):
        known = foolbox_classes()
        if name not in known:
            raise PurebenchError(f"foolbox: the attack {name!r} is unknown; {nearest(name, known)}")
        self.name, self.kind, self.options = name, known[name], options
        self.takes = inspect.signature(self.kind).parameters
        for key in options:
            if key not in self.takes:
                raise PurebenchError(f"foolbox:{name}: the parameter {key!r} is unknown; {nearest(key, self.takes)}")

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Foolbox's clipped answer; where a minimum-norm attack found nothing within the radius, it is projected.

        Raises PurebenchError if the attack's distance is not the threat's norm.
        """
        from foolbox.attacks.base import MinimizationAttack
        from foolbox.criteria import Misclassification
        from foolbox.models.pytorch import PyTorchModel

        attack = self.attack(threat)
        model = PyTorchModel(view.as_module(), bounds=(0, 1), device=x.device)
        _, clipped, _ = attack(model, x, Misclassification(y), epsilons=threat.radius)
        found: Tensor = clipped
        return threat.project(found, x) if isinstance(attack, MinimizationAttack) else found

    def attack(self, threat: ThreatModel) -> Any:
        """The Foolbox attack for a threat. Raises PurebenchError if it measures another distance."""
        from foolbox.attacks.base import AttackWithDistance
        from foolbox.distances import LpDistance

        chosen = {"distance": LpDistance(FOOLBOX_NORMS[threat.norm]), "constraint": threat.norm}
        attack = self.kind(**{key: value for key, value in chosen.items() if key in self.takes} | self.options)
        distance = attack.distance if isinstance(attack, AttackWithDistance) else None
        if not isinstance(distance, LpDistance) or distance.p != FOOLBOX_NORMS[threat.norm]:
            measured = f"it measures the {distance}" if distance else "it measures no distance"
            raise PurebenchError(f"foolbox:{self.name}: expected an attack in {threat.norm}, but {measured}.")
        return attack


def from_foolbox(name: str, **options: Any) -> FoolboxAttack:
    """Any Foolbox attack by class name, at the board's radius."""
    return FoolboxAttack(name, options)
