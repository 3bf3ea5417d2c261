"""Any evasion attack of the Adversarial Robustness Toolbox over a view, by class name: `art:HopSkipJump(max_iter=10)`
(Nicolae et al. 2018, arXiv:1807.01069).

What is contained of ART 1.20: its AutoAttack logs a failing sub-attack and calls the images robust, and imports a
package that nobody depends on; starting images are drawn from states that no seed reaches; GeoDA calls a function that
NumPy 2 dropped, and leaves a file where it runs; some attacks want probabilities, another label than the true one, or
one image at a time.
"""

from __future__ import annotations

import inspect
import multiprocessing
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, chdir, contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purebench.attacks.catalogue import check_norm, find, missing
from purebench.attacks.libraries.foolbox import nearest_found, runner_up
from purebench.attacks.libraries.model_wrapper import Asked, Lost, overheard
from purebench.attacks.parameters import check_options
from purebench.attacks.views.view import View
from purebench.core.errors import PurebenchError
from purebench.core.protocols import Answer, Inapplicable
from purebench.core.seeds import seeded
from purebench.core.threat import Knowledge, ThreatModel

ART_NORMS = {"linf": np.inf, "l2": 2, "l1": 1}
OURS = {"estimator", "classifier", "estimator_orig", "attacks", "norm", "targeted", "verbose"}
OURS |= {"parallel_pool_size", "summary_writer", "debug"}
"""Parameters that are no options: objects, or decided by the board."""
FIRST_STEPS = {
    "AutoAttack": 2.0,
    "AutoConjugateGradient": 2.0,
    "AutoProjectedGradientDescent": 2.0,
    "RescalingAutoConjugateGradient": 2.0,
}
"""The methods that shorten their step begin with twice the radius, as their papers do; `eps_step` in radii."""
STEP = 0.25
BATCHED = (
    "CarliniL2Method",
    "CarliniLInfMethod",
    "DeepFool",
    "ElasticNet",
    "NewtonFool",
    "VirtualAdversarialMethod",
)
"""Attacks that take one image at a time unless told, and treat each image of a batch apart."""
ALONE = ("FeatureAdversariesNumpy", "ShadowAttack", "SpatialTransformation")
"""Attacks that take one image only, or choose one answer for a whole batch."""
PROBABILITIES = ("NewtonFool", "SimBA", "VirtualAdversarialMethod")
"""Attacks for a classifier that answers with probabilities."""
TOWARDS = ("SaliencyMapMethod", "TargetedUniversalPerturbation")
"""Attacks whose labels are the classes to reach."""
FOLLOW = ("BoundaryAttack", "GeoDA", "HopSkipJump", "SignOPTAttack")
"""Attacks that follow the boundary, and may lose it where the answers change: then they ask about a NaN."""
GUIDED = ("FeatureAdversariesNumpy", "FeatureAdversariesPyTorch")
"""Attacks whose labels are images, whose logits are to be reached."""
DLR = "difference_logits_ratio"
"""ART's name of the loss that divides by a difference of the three largest logits."""
DEFAULTS: dict[str, dict[str, Any]] = {
    "FeatureAdversariesNumpy": {"layer": 0},
    "SpatialTransformation": {
        "max_translation": 10.0,
        "num_translations": 5,
        "max_rotation": 30.0,
        "num_rotations": 31,
    },
    "TargetedUniversalPerturbation": {"attacker_params": {"targeted": True}},
    "ThresholdAttack": {"es": 1},
    "UniversalPerturbation": {"attacker_params": {"verbose": False}},
}
"""Instead of ART's: no layer; no rotation (here those of Engstrom et al. 2019, arXiv:1712.02779); an inner attack away
from the class to reach; an extra package."""


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
def holding(names: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """names[name] is `value` inside, and what it was afterwards."""
    before = {key: names[key] for key in names if key == name}
    names[name] = value
    try:
        yield
    finally:
        del names[name]
        names.update(before)


@contextmanager
def surroundings(elsewhere: bool = False) -> Iterator[None]:
    """What ART expects to find around it, for as long as an attack runs; elsewhere: in a folder that is thrown away."""
    with ExitStack() as stack:
        # HopSkipJump, BoundaryAttack and others draw their starting images from a state that no seed would reach
        stack.enter_context(holding(vars(np.random), "RandomState", SeededState))
        stack.enter_context(holding(vars(np), "mat", np.asmatrix))
        stack.enter_context(holding(sys.modules, "multiprocess", multiprocessing))
        if elsewhere:  # GeoDA writes its cosines into the working directory, and reads what it finds there
            stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))
        yield


class ArtAttack:
    """An ART attack; norm and eps come from the threat where the attack has them, the rest from `options`."""

    def __init__(self, name: str, options: dict[str, Any]):
        self.entry = find("art", name)
        known = art_classes()
        if name not in known:
            raise PurebenchError(missing("art", self.entry))
        self.name, self.kind, self.options = name, known[name], options
        self.takes = inspect.signature(self.kind).parameters
        for key in options:
            if self.entry.bounded and key == self.radius:
                raise PurebenchError(f"art:{name}: expected no {key!r}: it is the board's radius; leave it out.")
        allowed = [key for key in self.takes if key not in OURS or (key, name) == ("targeted", "AutoAttack")]
        check_options(f"art:{name}", options, {key: self.takes[key] for key in allowed if key != self.radius})

    @property
    def knowledge(self) -> Knowledge:
        """What the attack uses of the defense."""
        return self.entry.knowledge

    @property
    def radius(self) -> str:
        """The parameter that stands for the threat's radius; empty where there is none."""
        return next((key for key in ("eps", "delta") if self.entry.bounded and key in self.takes), "")

    def check(self, threat: ThreatModel) -> None:
        """Raises PurebenchError if the attack does not run under a threat, cannot be made, or needs another package."""
        check_norm("art", self.entry, threat.norm)
        x = torch.zeros(1, 3, 32, 32)
        with seeded("check"), surroundings(elsewhere=self.name == "GeoDA"):
            self._made(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 10)), x, 10, threat)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """ART's answer; it has no verdict of its own. Raises PurebenchError as `check` does.

        Raises Inapplicable where its loss needs more classes than there are.
        """
        check_norm("art", self.entry, threat.norm)
        if not len(x):
            return Answer(x, nearest=not self.entry.bounded)
        asked = Asked(view, x, y)

        def work(images: Tensor, labels: Tensor, others: Tensor) -> tuple[Tensor]:
            count = 1 if self.name in ALONE + FOLLOW else len(images)
            parts = (torch.split(rows, count) for rows in (images, labels, others))
            return (torch.cat([self._run(asked, *part, threat=threat) for part in zip(*parts, strict=True)]),)

        with surroundings(elsewhere=self.name == "GeoDA"), overheard(view, "art", "art"):
            (found,) = view.batch.map(work, x, y, guides(x, y))
        asked.tell()
        answer = Answer(found)
        return answer if self.entry.bounded else nearest_found(view, x, y, answer)

    def _run(self, asked: Asked, x: Tensor, y: Tensor, others: Tensor, *, threat: ThreatModel) -> Tensor:
        """ART's answer to a batch, [N,C,H,W]; others: images of other classes."""
        view = asked.view
        classes = view.scores(x[:1], 1).shape[2]
        if classes < 3 and (self.name == "AutoAttack" or self.options.get("loss_type") == DLR):
            raise Inapplicable(f"art:{self.name}: expected at least 3 classes for its DLR loss, but got {classes}")
        labels = runner_up(view, x, y) if self.name in TOWARDS else y
        aims: Any = nn.functional.one_hot(labels, classes).float().cpu().numpy()
        if self.name in GUIDED:
            aims = others.cpu().numpy()
        elif self.name == "ShadowAttack":
            aims = None  # labels would be the classes to reach
        attack = self._made(asked, x, classes, threat)
        if self.name == "AutoAttack":
            for part in attack.attacks:
                part.generate, part.verbose = partial(loudly, part.generate), False
        try:
            answer = attack.generate(x=x.cpu().numpy(), y=aims)
        except Lost:
            if self.name not in FOLLOW:
                raise
            view.note("where the attack lost the boundary, the image comes back as it is")
            return x
        return torch.as_tensor(np.asarray(answer)).to(x)

    def _made(self, module: nn.Module, x: Tensor, classes: int, threat: ThreatModel) -> Any:
        """ART's attack on a module that takes images such as x [N,C,H,W] and gives logits [N,classes]."""
        from art.estimators.classification import PyTorchClassifier

        classifier = PyTorchClassifier(
            model=nn.Sequential(module, nn.Softmax(1) if self.name in PROBABILITIES else nn.Identity()).eval(),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if x.device.type == "cuda" else "cpu",
        )
        try:
            return self.kind(classifier, **self.settings(threat, len(x)))
        except ImportError as error:
            raise PurebenchError(missing("art", self.entry)) from error
        except Exception as error:  # whatever ART has against these values
            raise PurebenchError(f"art:{self.name}: cannot be made from {self.options}: {error}") from error

    def settings(self, threat: ThreatModel, images: int = 1) -> dict[str, Any]:
        """The attack's keyword arguments for a threat and a batch of so many images."""
        settings: dict[str, Any] = {"verbose": False, "targeted": False}
        if not self.entry.own:
            settings["norm"] = ART_NORMS[threat.norm]
        if self.entry.bounded:
            step = FIRST_STEPS.get(self.name, STEP) * threat.radius
            settings |= {"eps": threat.radius, "delta": threat.radius, "eps_step": step, "step_size": step}
            if "eps" in self.takes:
                del settings["delta"]  # of the universal attacks, the share of images that may hold
        if self.name in BATCHED:
            settings["batch_size"] = images
        settings |= {} if "attacker" in self.options else DEFAULTS.get(self.name, {})
        return {key: value for key, value in settings.items() if key in self.takes} | self.options


def guides(x: Tensor, y: Tensor) -> Tensor:
    """For each image the next one of the batch with another label; itself, if there is none."""
    count = len(x)
    order = (torch.arange(count, device=x.device)[:, None] + torch.arange(count, device=x.device)) % count
    return x[order.gather(1, (y[order] != y[:, None]).long().argmax(1, keepdim=True)).squeeze(1)]


def loudly(generate: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a sub-attack; its ValueError, which ART would log and forget, becomes a RuntimeError."""
    try:
        return generate(*args, **kwargs)
    except ValueError as error:
        raise RuntimeError(f"a sub-attack failed: {error}") from error


def from_art(name: str, **options: Any) -> ArtAttack:
    """Any ART evasion attack by class name, at the board's norm and radius or for the nearest images."""
    return ArtAttack(name, options)
