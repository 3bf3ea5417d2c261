"""Any Foolbox attack over a view, by class name: `foolbox:LinfPGD(steps=20)` (Rauber et al. 2020, arXiv:1707.04131).

What is contained of Foolbox 3.3.4: L2FMNAttack's projection ignores its radius; Carlini & Wagner and EAD give a black
image where they found nothing; attacks that follow the boundary demand of a point that it stays adversarial whenever
they ask again, and refuse the whole batch if one image has no adversarial point to start from.
"""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from purebench.attacks.best import rows
from purebench.attacks.catalogue import check_norm, find, missing
from purebench.attacks.libraries.model_wrapper import Asked
from purebench.attacks.parameters import check_options
from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.protocols import Answer
from purebench.core.threat import Knowledge, ThreatModel
from purebench.core.warning_codes import WarningCode

FOOLBOX_NORMS = {"linf": math.inf, "l2": 2, "l1": 1}
OURS = ("distance", "init_attack", "tensorboard")
"""Parameters that are no options: objects, or none of an attack's business."""
DEFAULTS: dict[str, dict[str, Any]] = {"VirtualAdversarialAttack": {"steps": 10}}
"""Values of parameters that have no default in Foolbox."""
BLACK_IF_NONE = ("EADAttack", "L2CarliniWagnerAttack")
"""Attacks that give a black image where they found nothing."""
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
"""Attacks that follow the boundary from an adversarial point, and Foolbox's attack that looks for it."""
BEGINNINGS = {BLENDED: {"directions": 100, "steps": 50}, SALTED: {"steps": 200}}
OTHERS = 20
"""Images of the batch that are tried as a point to start from where that found none."""
NO_START = "images without a misclassified point to start from, which come back unchanged"
FRESH = 16
"""Fresh draws that tell whether a point fools a random defense more often than the image itself."""
OUTWARDS = (0.0, 1e-3, 1e-2)
"""Shares of its distance by which a point is moved outwards until it holds."""


def foolbox_classes() -> dict[str, type]:
    """Foolbox's concrete attack classes by name, aliases included."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies, when it is imported; -W error would make them errors
        import foolbox.attacks
        from foolbox.attacks.base import Attack

    return {
        name: found
        for name, found in vars(foolbox.attacks).items()
        if inspect.isclass(found) and issubclass(found, Attack) and not inspect.isabstract(found)
    }


class FoolboxAttack:
    """A Foolbox attack; its constructor takes the given keyword arguments.

    Attacks that keep to a radius run at the threat's; the others run without one, and their answer is the nearest
    adversarial image found. The threat's norm is handed to the attacks that let one be chosen.
    """

    def __init__(self, name: str, options: dict[str, Any]):
        self.entry = find("foolbox", name)
        self.name, self.kind, self.options = name, foolbox_classes()[name], options
        takes = inspect.signature(self.kind).parameters
        self.takes = {key: parameter for key, parameter in takes.items() if key not in OURS}
        check_options(f"foolbox:{name}", options, self.takes)

    @property
    def knowledge(self) -> Knowledge:
        """What the attack uses of the defense."""
        return self.entry.knowledge

    def check(self, threat: ThreatModel) -> None:
        """Raises PurebenchError if the attack does not run under a threat, cannot be made, or needs another package."""
        self.attack(threat)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Foolbox's answer and its own verdict: adversarial in its last look (and, if bounded, within the radius).

        Raises PurebenchError as `check` does.
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
        """The Foolbox attack for a threat. Raises PurebenchError if it measures another distance."""
        from foolbox.distances import LpDistance

        check_norm("foolbox", self.entry, threat.norm)
        takes = inspect.signature(self.kind).parameters
        norm = {"distance": LpDistance(FOOLBOX_NORMS[threat.norm]), "constraint": threat.norm}
        chosen = {key: value for key, value in norm.items() if key in takes}
        try:
            attack = self.kind(**DEFAULTS.get(self.entry.name, {}) | self.options | chosen)
        except ImportError as error:
            raise PurebenchError(missing("foolbox", self.entry)) from error
        except Exception as error:  # whatever Foolbox has against these values
            raise PurebenchError(f"foolbox:{self.name}: cannot be made from {self.options}: {error}") from error
        if self.entry.name == "L2FMNAttack":
            attack.project = project_l2
        return attack

    def _run(self, asked: Asked, x: Tensor, y: Tensor, threat: ThreatModel) -> tuple[Tensor, Tensor]:
        """Foolbox's answer to a batch, [N,C,H,W], and whether it was adversarial in its last look, bool [N]."""
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
        """The same for an attack that follows the boundary, of the images that have a point to start from."""
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
    """A view whose randomness is the same at every pass, for attacks that ask again and expect the same answer.

    index: the images of the batch x [N,C,H,W] whose points are asked for, [M]. The noise of an image depends on its
    place in the batch, so that of a random view the whole batch passes, the others as they are.
    """

    def __init__(self, asked: Asked, x: Tensor):
        super().__init__()
        self.view, self.asked, self.x = asked.view, asked, x
        self.index = torch.arange(len(x), device=x.device)
        self.seed = int(torch.randint(2**31 - 1, ()))
        self.eval()

    def forward(self, points: Tensor) -> Tensor:
        """Logits [M,K] of points [M,C,H,W]."""
        if not self.view.random:
            logits: Tensor = self.asked(points)
            return logits
        self.view.note("the draws are held still for an attack that follows the boundary")
        with torch.random.fork_rng(devices=[points.device] if points.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            logits = self.asked.module(self.x.index_put((self.index,), points))  # the others get no gradient
        return logits[self.index]


@torch.no_grad()
def starting_points(steady: Steady, x: Tensor, y: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """A wrong point for each image, and whether there is one, bool [N]; the image itself if it is wrong, or if none is.

    Looked for by the Foolbox attack `method`, then among the other images of the batch.
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
    """A module on images in [0,1] as Foolbox takes it."""
    from foolbox.models.pytorch import PyTorchModel

    return PyTorchModel(module, bounds=(0, 1), device=x.device)


def project_l2(x: Any, x0: Any, epsilon: Any) -> Any:
    """x brought into the l2 balls of radii epsilon [N] around x0; EagerPy tensors."""
    delta = x - x0
    shape = (len(x0),) + (1,) * (x0.ndim - 1)
    size = delta.reshape((len(x0), -1)).norms.l2(axis=1)
    return x0 + delta * (epsilon / size.maximum(1e-12)).minimum(1.0).reshape(shape)


def runner_up(view: View, x: Tensor, y: Tensor) -> Tensor:
    """The class that the view thinks likeliest but for the true one, [N]."""
    return view.scores(x).mean(1).scatter(1, y[:, None], -torch.inf).argmax(1)


def nearest_found(view: View, x: Tensor, y: Tensor, answer: Answer) -> Answer:
    """The answer of a minimum-norm attack as it holds when asked again; the image itself where it does not.

    A point on the boundary that only just does not hold is moved outwards by shares of its distance. A random view is
    fooled where it is wrong more often than on the image itself, on fresh draws.
    """

    def wrong(images: Tensor) -> Tensor:
        return (view.scores(images, FRESH).argmax(2) != y[:, None]).sum(1)

    least = wrong(x) if view.random else torch.zeros_like(y)
    found, fooled = x, torch.zeros_like(y, dtype=torch.bool)
    for share in OUTWARDS:
        points = torch.where(rows(fooled, x), found, (x + (1 + share) * (answer.images - x)).clamp(0, 1))
        fooled = fooled | (wrong(points) > least)
        found = torch.where(rows(fooled, x), points, x)
        if bool(fooled.all()):
            break
    return Answer(found, nearest=True, claims=answer.claims)


def from_foolbox(name: str, **options: Any) -> FoolboxAttack:
    """Any Foolbox attack by class name, at the board's radius or for the nearest images."""
    return FoolboxAttack(name, options)
