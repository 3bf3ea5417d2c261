"""Any Foolbox attack over a view, by class name: `foolbox:LinfPGD(steps=20)` (Rauber et al. 2020, arXiv:1707.04131).

Faults of Foolbox 3.3.4 that are worked around: L2FMNAttack's projection ignores its radius; Carlini & Wagner and EAD
return a black image if they found nothing; attacks that follow the boundary require that a point stays adversarial
whenever they evaluate it again, and refuse the whole batch if one image has no adversarial starting point.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from purebench.attacks.best import rows
from purebench.attacks.catalogue import check_norm, find, missing
from purebench.attacks.libraries.confirmation import nearest_found
from purebench.attacks.libraries.model_wrapper import Asked, runner_up
from purebench.attacks.libraries.options import check_options
from purebench.attacks.views.view import View
from purebench.core.answers import Answer
from purebench.core.errors import PurebenchError
from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.threat import Knowledge, ThreatModel
from purebench.core.warning_codes import WarningCode

OURS = ("distance", "init_attack", "tensorboard")
"""Parameters that a board cannot set: objects, or parameters that do not concern the attack."""
DEFAULTS: dict[str, dict[str, Any]] = {"VirtualAdversarialAttack": {"steps": 10}}
"""Values of parameters that have no default in Foolbox."""
BLACK_IF_NONE = ("EADAttack", "L2CarliniWagnerAttack")
"""Attacks that return a black image if they found nothing."""
BLENDED, SALTED = "LinearSearchBlendedUniformNoiseAttack", "SaltAndPepperNoiseAttack"
STARTS = {
    "BoundaryAttack": BLENDED,
    "HopSkipJumpAttack": BLENDED,
    "L0BrendelBethgeAttack": BLENDED,
    "L1BrendelBethgeAttack": BLENDED,
    "L2BrendelBethgeAttack": BLENDED,
    "LinfinityBrendelBethgeAttack": BLENDED,
    "PointwiseAttack": SALTED,
}
"""Attacks that follow the boundary from an adversarial point, and the Foolbox attack that searches for that point."""
BEGINNINGS = {BLENDED: {"directions": 100, "steps": 50}, SALTED: {"steps": 200}}
OTHERS = 20
"""Images of the batch that are tried as a starting point if that attack found none."""
NO_START = "images without a misclassified starting point, which are returned unchanged"


def foolbox_classes() -> dict[str, type]:
    """Return Foolbox's concrete attack classes by name, aliases included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of its dependencies on import, which are errors under -W error
        import foolbox.attacks
        from foolbox.attacks.base import Attack

    return {
        name: found
        for name, found in vars(foolbox.attacks).items()
        if inspect.isclass(found) and issubclass(found, Attack) and not inspect.isabstract(found)
    }


class FoolboxAttack:
    """A Foolbox attack; `options` are the keyword arguments of its constructor.

    Attacks that keep to a radius run at the threat model's radius; the others run without one, and return the nearest
    adversarial examples found. The threat model's norm is passed to the attacks that accept one.
    """

    def __init__(self, name: str, options: dict[str, Any]):
        self.entry = find("foolbox", name)
        self.name, self.kind, self.options = name, foolbox_classes()[name], options
        takes = inspect.signature(self.kind).parameters
        self.takes = {key: parameter for key, parameter in takes.items() if key not in OURS}
        check_options(f"foolbox:{name}", options, self.takes)

    @property
    def knowledge(self) -> Knowledge:
        """Knowledge that the attack uses of the defense."""
        return self.entry.knowledge

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack can be created for a threat model.

        Raises:
            PurebenchError: If the attack does not support the norm, cannot be created, or needs another package.
        """
        self.attack(threat)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Run Foolbox's attack.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Returns:
            Foolbox's images and its claims: adversarial in its last evaluation (and, if bounded, within the radius).

        Raises:
            PurebenchError: If the attack does not support the norm, cannot be created, or needs another package.
        """
        self.check(threat)
        if not len(x):
            return Answer(x, nearest=not self.entry.bounded)
        asked = Asked(view, x, y)

        def work(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return self._run(asked, images, labels, threat)

        found, wrong = view.batch.map(work, x, y)
        asked.tell()
        if not self.entry.bounded:
            return nearest_found(view, x, y, Answer(found, claims=wrong))
        return Answer(found, claims=wrong & (threat.size(found - x) <= threat.radius * (1 + 1e-5)))

    def attack(self, threat: ThreatModel) -> Any:
        """Return the Foolbox attack for a threat model.

        Raises:
            PurebenchError: If the attack does not support the norm, cannot be created, or needs another package.
        """
        from foolbox.distances import LpDistance

        check_norm("foolbox", self.entry, threat.norm)
        takes = inspect.signature(self.kind).parameters
        norm = {"distance": LpDistance(NORM_FACTS[threat.norm].order), "constraint": threat.norm}
        chosen = {key: value for key, value in norm.items() if key in takes}
        try:
            attack = self.kind(**DEFAULTS.get(self.entry.name, {}) | self.options | chosen)
        except ImportError as error:
            raise PurebenchError(missing("foolbox", self.entry)) from error
        except Exception as error:  # whatever error Foolbox raises for these values
            raise PurebenchError(
                f"foolbox:{self.name}: expected parameters that Foolbox accepts, but got {self.options}: {error}"
            ) from error
        if self.entry.name == "L2FMNAttack":
            attack.project = project_l2
        return attack

    def _run(self, asked: Asked, x: Tensor, y: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Return Foolbox's answer to a batch, [N,C,H,W], and whether its last evaluation was adversarial, bool [N]."""
        if self.entry.name in STARTS:
            return self._follow(asked, x, y, threat)
        from foolbox.criteria import Misclassification, TargetedMisclassification

        attack, model = self.attack(threat), foolbox_model(asked, x)
        criterion: Any = Misclassification(y)
        if self.entry.name == "GenAttack":
            criterion = TargetedMisclassification(runner_up(asked.view, x, y))
        elif self.entry.name == "DatasetAttack":
            attack.feed(model, x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, found, wrong = attack(model, x, criterion, epsilons=threat.radius if self.entry.bounded else None)
        none = (found.flatten(1).amax(1) == 0) & (self.entry.name in BLACK_IF_NONE)
        return torch.where(rows(none, x), x, found.detach()), wrong & ~none

    def _follow(self, asked: Asked, x: Tensor, y: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Do the same for an attack that follows the boundary, on the images that have a starting point."""
        from foolbox.criteria import Misclassification

        steady = Steady(asked, x)
        found, wrong = starting_points(steady, x, y, STARTS[self.entry.name])
        lost = int((~wrong).sum())
        if lost:
            asked.view.warn(WarningCode.NO_STARTING_POINT, NO_START, lost, len(x))
        steady.index = (wrong & (found != x).flatten(1).any(1)).nonzero().squeeze(1)
        if len(steady.index):
            images, points = x[steady.index], found[steady.index]
            criterion = Misclassification(y[steady.index])
            attack, model = self.attack(threat), foolbox_model(steady, x)
            _, points, still = attack(model, images, criterion, epsilons=None, starting_points=points)
            found[steady.index], wrong[steady.index] = points.detach(), still
        return found, wrong


class Steady(nn.Module):
    """A view whose randomness is the same at every pass, for attacks that expect the same answer to a repeated query.

    The noise of an image depends on its place in the batch. Therefore a random view evaluates the whole batch, the
    other images unchanged.

    Attributes:
        view: The view that is attacked.
        asked: The view as a module that counts zero gradients.
        x: The images of the batch, [N,C,H,W].
        index: Which images the queried points belong to, [M].
        seed: Seed of every pass.
    """

    def __init__(self, asked: Asked, x: Tensor):
        super().__init__()
        self.view, self.asked, self.x = asked.view, asked, x
        self.index = torch.arange(len(x), device=x.device)
        self.seed = int(torch.randint(2**31 - 1, ()))
        self.eval()

    def forward(self, points: Tensor) -> Tensor:
        """Return logits [M,K] of points [M,C,H,W]."""
        if not self.view.random:
            logits: Tensor = self.asked(points)
            return logits
        self.view.note("the draws are fixed during the attack, which follows the decision boundary")
        with torch.random.fork_rng(devices=[points.device] if points.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            logits = self.asked.module(self.x.index_put((self.index,), points))  # the others get no gradient
        return logits[self.index]


@torch.no_grad()
def starting_points(steady: Steady, x: Tensor, y: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """Find a misclassified point for each image.

    The Foolbox attack `method` searches first, then the other images of the batch are tried.

    Args:
        steady: The view with fixed randomness.
        x: Images [N,C,H,W] in [0,1].
        y: Labels [N].
        method: Name of the Foolbox attack.

    Returns:
        Points [N,C,H,W], and whether each is misclassified, bool [N]. The point is the image itself if that is
        misclassified, or if none was found.
    """
    import foolbox.attacks
    from foolbox.criteria import Misclassification

    def better(found: Tensor, wrong: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        asked = torch.where(rows(wrong, x), found, points)
        now = wrong | (steady(asked).argmax(1) != y)
        return torch.where(rows(now, x), asked, x), now

    found, wrong = better(x, torch.zeros_like(y, dtype=torch.bool), x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begin = vars(foolbox.attacks)[method](**BEGINNINGS[method])
        found, wrong = better(found, wrong, begin.run(foolbox_model(steady, x), x, Misclassification(y)))
    for shift in range(1, min(len(x), OTHERS + 1)):
        if bool(wrong.all()):
            break
        found, wrong = better(found, wrong, x.roll(shift, 0))
    return found, wrong


def foolbox_model(module: nn.Module, x: Tensor) -> Any:
    """Return a module on images in [0,1] as a Foolbox model."""
    from foolbox.models.pytorch import PyTorchModel

    return PyTorchModel(module, bounds=(0, 1), device=x.device)


def project_l2(x: Any, x0: Any, epsilon: Any) -> Any:
    """Return x projected to the l2 balls of radii epsilon [N] around x0; all are EagerPy tensors."""
    delta = x - x0
    shape = (len(x0),) + (1,) * (x0.ndim - 1)
    size = delta.reshape((len(x0), -1)).norms.l2(axis=1)
    return x0 + delta * (epsilon / size.maximum(1e-12)).minimum(1.0).reshape(shape)


def from_foolbox(name: str, **options: Any) -> FoolboxAttack:
    """Return any Foolbox attack by class name, at the board's radius or for the nearest images.

    Args:
        name: Name of the attack's class, or an alias of it.
        **options: Arguments of its constructor.
    """
    return FoolboxAttack(name, options)
