"""Any Foolbox attack over a view, by class name: `foolbox:LinfPGD(steps=20)` (Rauber et al. 2020, arXiv:1707.04131)."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor

from purebench.attacks.view import View
from purebench.errors import PurebenchError, nearest
from purebench.threat import Knowledge, ThreatModel


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
    """A Foolbox attack run at the threat's radius; its constructor takes the given keyword arguments."""

    knowledge = Knowledge.WHITE_BOX

    def __init__(self, name: str, options: dict[str, Any]):
        known = foolbox_classes()
        if name not in known:
            raise PurebenchError(f"foolbox: the attack {name!r} is unknown; {nearest(name, known)}")
        takes = inspect.signature(known[name]).parameters
        for key in options:
            if key not in takes:
                raise PurebenchError(f"foolbox:{name}: the parameter {key!r} is unknown; {nearest(key, takes)}")
        self.attack = known[name](**options)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
        """Foolbox's clipped answer; where a minimum-norm attack found nothing within the radius, it is projected."""
        from foolbox.attacks.base import MinimizationAttack
        from foolbox.criteria import Misclassification
        from foolbox.models.pytorch import PyTorchModel

        model = PyTorchModel(view.as_module(), bounds=(0, 1), device=x.device)
        _, clipped, _ = self.attack(model, x, Misclassification(y), epsilons=threat.radius)
        found: Tensor = clipped
        if isinstance(self.attack, MinimizationAttack):
            return threat.project(found, x)
        return found


def from_foolbox(name: str, **options: Any) -> FoolboxAttack:
    """Any Foolbox attack by class name, at the board's radius."""
    return FoolboxAttack(name, options)
