"""Any evasion attack of the Adversarial Robustness Toolbox over a view, by class name: `art:HopSkipJump(max_iter=10)`.

See Nicolae et al. 2018, arXiv:1807.01069. Faults of ART 1.20 that are worked around: its AutoAttack logs a failing
sub-attack and calls the images robust, and imports a package that nothing depends on; starting images are drawn from
states that no seed controls; GeoDA calls a function that NumPy 2 removed, and writes a file to the working directory;
some attacks need probabilities, another label than the true one, or one image at a time.
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
from purebench.attacks.libraries.confirmation import nearest_found
from purebench.attacks.libraries.model_wrapper import Asked, Lost, overheard, runner_up
from purebench.attacks.libraries.options import check_options
from purebench.attacks.views.view import View
from purebench.core.answers import Answer, Inapplicable
from purebench.core.errors import PurebenchError
from purebench.core.norms.norm_facts import NORM_FACTS
from purebench.core.seeds import seeded
from purebench.core.threat import Knowledge, ThreatModel

OURS = {"estimator", "classifier", "estimator_orig", "attacks", "norm", "targeted", "verbose"}
OURS |= {"parallel_pool_size", "summary_writer", "debug"}
"""Parameters that a board cannot set: objects, or parameters that follow from the board."""
AUTO = ("AutoAttack", "AutoConjugateGradient", "AutoProjectedGradientDescent", "RescalingAutoConjugateGradient")
FIRST_STEPS = dict.fromkeys(AUTO, 2.0)
"""First step in units of the radius (`eps_step`): methods that shorten their step begin with twice the radius, as in
their papers."""
OWN_VERDICT = (
    "for deterministic defenses seen as a whole: it returns its random start where one answer is right; use apgd"
)
STEP = 0.25
BATCHED = (
    "CarliniL2Method",
    "CarliniLInfMethod",
    "DeepFool",
    "ElasticNet",
    "NewtonFool",
    "VirtualAdversarialMethod",
)
"""Attacks that take one image at a time unless a batch size is set, and treat each image of a batch independently."""
ALONE = ("FeatureAdversariesNumpy", "ShadowAttack", "SpatialTransformation")
"""Attacks that take one image only, or choose one answer for a whole batch."""
PROBABILITIES = ("NewtonFool", "SimBA", "VirtualAdversarialMethod")
"""Attacks that need a classifier that returns probabilities."""
TOWARDS = ("SaliencyMapMethod", "TargetedUniversalPerturbation")
"""Attacks whose labels are the target classes."""
FOLLOW = ("BoundaryAttack", "GeoDA", "HopSkipJump", "SignOPTAttack")
"""Attacks that follow the boundary, and may lose it where the answers change: then they query an image that is NaN."""
GUIDED = ("FeatureAdversariesNumpy", "FeatureAdversariesPyTorch")
"""Attacks that take images in place of labels, and aim at the logits of those images."""
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
"""Values in place of ART's defaults: no layer; no rotation (here those of Engstrom et al. 2019, arXiv:1712.02779); an
inner attack away from the target class; an extra package."""


def art_classes() -> dict[str, type]:
    """Return ART's evasion attack classes by name."""
    import art.attacks.evasion
    from art.attacks.attack import EvasionAttack

    return {
        name: found
        for name, found in vars(art.attacks.evasion).items()
        if inspect.isclass(found) and issubclass(found, EvasionAttack) and not inspect.isabstract(found)
    }


class SeededState(np.random.RandomState):
    """A random state that takes its seed, if none is given, from numpy's global generator and not from the system."""

    def __init__(self, seed: Any = None):
        super().__init__(np.random.randint(2**31 - 1) if seed is None else seed)


@contextmanager
def holding(names: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """Set names[name] to `value` inside the block, and restore it afterwards."""
    before = {key: names[key] for key in names if key == name}
    names[name] = value
    try:
        yield
    finally:
        del names[name]
        names.update(before)


@contextmanager
def surroundings(elsewhere: bool = False) -> Iterator[None]:
    """Provide the environment that ART expects while an attack runs.

    Args:
        elsewhere: Run in a temporary folder.
    """
    with ExitStack() as stack:
        # HopSkipJump, BoundaryAttack and others draw their starting images from a state that no seed would control
        stack.enter_context(holding(vars(np.random), "RandomState", SeededState))
        stack.enter_context(holding(vars(np), "mat", np.asmatrix))
        stack.enter_context(holding(sys.modules, "multiprocess", multiprocessing))
        if elsewhere:  # GeoDA writes its cosines into the working directory, and reads what it finds there
            stack.enter_context(chdir(stack.enter_context(TemporaryDirectory())))
        yield


class ArtAttack:
    """An ART attack; norm and eps come from the threat model if the attack has them, the rest from `options`."""

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
        """Knowledge that the attack uses of the defense."""
        return self.entry.knowledge

    @property
    def radius(self) -> str:
        """Name of the parameter for the threat model's radius; empty if there is none."""
        return next((key for key in ("eps", "delta") if self.entry.bounded and key in self.takes), "")

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack can be created for a threat model.

        Raises:
            PurebenchError: If the attack does not support the norm, cannot be created, or needs another package.
        """
        check_norm("art", self.entry, threat.norm)
        x = torch.zeros(1, 3, 32, 32)
        with seeded("check"), surroundings(elsewhere=self.name == "GeoDA"):
            self._made(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 10)), x, 10, threat)

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Answer:
        """Run ART's attack.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N].
            threat: The threat model.

        Returns:
            ART's adversarial images; ART makes no claims.

        Raises:
            PurebenchError: If the attack does not support the norm, cannot be created, or needs another package.
            Inapplicable: If its loss needs more classes than there are, or it returns its random start where one answer
                is right, and the view is random or does not decide.
        """
        check_norm("art", self.entry, threat.norm)
        if self.name in AUTO and (view.random or not view.decides):
            raise Inapplicable(f"art:{self.name}: {OWN_VERDICT}")
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
        """Return ART's answer to a batch, [N,C,H,W]; others: images of other classes."""
        view = asked.view
        classes = view.scores(x[:1], 1).shape[2]
        if classes < 3 and (self.name == "AutoAttack" or self.options.get("loss_type") == DLR):
            raise Inapplicable(
                f"art:{self.name}: expected at least 3 classes for its DLR loss, but got {classes}; use another loss"
            )
        labels = runner_up(view, x, y) if self.name in TOWARDS else y
        aims: Any = nn.functional.one_hot(labels, classes).float().cpu().numpy()
        if self.name in GUIDED:
            aims = others.cpu().numpy()
        elif self.name == "ShadowAttack":
            aims = None  # labels would be the target classes
        attack = self._made(asked, x, classes, threat)
        if self.name == "AutoAttack":
            for part in attack.attacks:
                part.generate, part.verbose = partial(loudly, part.generate), False
        try:
            answer = attack.generate(x=x.cpu().numpy(), y=aims)
        except Lost:
            if self.name not in FOLLOW:
                raise
            view.note("images on which the attack lost the decision boundary are returned unchanged")
            return x
        return torch.as_tensor(np.asarray(answer)).to(x)

    def _made(self, module: nn.Module, x: Tensor, classes: int, threat: ThreatModel) -> Any:
        """Return ART's attack on a module that takes images such as x [N,C,H,W] and returns logits [N,classes]."""
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
        except Exception as error:  # whatever error ART raises for these values
            raise PurebenchError(
                f"art:{self.name}: expected parameters that ART accepts, but got {self.options}: {error}"
            ) from error

    def settings(self, threat: ThreatModel, images: int = 1) -> dict[str, Any]:
        """Return the keyword arguments of ART's attack.

        Args:
            threat: The threat model.
            images: Number of images in the batch.
        """
        settings: dict[str, Any] = {"verbose": False, "targeted": False}
        if not self.entry.own:
            settings["norm"] = NORM_FACTS[threat.norm].order
        if self.entry.bounded:
            step = FIRST_STEPS.get(self.name, STEP) * threat.radius
            settings |= {"eps": threat.radius, "delta": threat.radius, "eps_step": step, "step_size": step}
            if "eps" in self.takes:
                del settings["delta"]  # in the universal attacks, the share of images that may stay robust
        if self.name in BATCHED:
            settings["batch_size"] = images
        settings |= {} if "attacker" in self.options else DEFAULTS.get(self.name, {})
        return {key: value for key, value in settings.items() if key in self.takes} | self.options


def guides(x: Tensor, y: Tensor) -> Tensor:
    """Return for each image the next one of the batch with another label, or itself if there is none.

    Args:
        x: Images [N,C,H,W].
        y: Labels [N].
    """
    count = len(x)
    order = (torch.arange(count, device=x.device)[:, None] + torch.arange(count, device=x.device)) % count
    return x[order.gather(1, (y[order] != y[:, None]).long().argmax(1, keepdim=True)).squeeze(1)]


def loudly(generate: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a sub-attack; turn its ValueError, which ART would log and ignore, into a RuntimeError."""
    try:
        return generate(*args, **kwargs)
    except ValueError as error:
        raise RuntimeError(f"a sub-attack failed: {error}") from error


def from_art(name: str, **options: Any) -> ArtAttack:
    """Return any ART evasion attack by class name, at the board's norm and radius or for the nearest images.

    Args:
        name: Name of the attack's class.
        **options: Arguments of its constructor.
    """
    return ArtAttack(name, options)
