"""The contestants: PGD and APGD of purebench and its peers, each by the library's own API, with equal settings.

All have a random start, one restart, cross-entropy, and for PGD a step of 2.5 · radius ÷ steps. Each averages over the
draws of a random model in its own way; a library without EOT gets a module that averages log-probabilities.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attack_parts.subjects import Counted, Subject, images_of
from purebench.core import registry
from purebench.core.defense import as_defense
from purebench.core.registry import Spec
from purebench.core.threat import ThreatModel


@dataclass(frozen=True)
class Task:
    """A model and images to attack within a linf threat with `steps` steps of `eot` draws each."""

    subject: Subject
    threat: ThreatModel
    steps: int
    eot: int = 1

    @property
    def relative_step(self) -> float:
        """PGD's step as a share of the radius."""
        return 2.5 / self.steps

    @property
    def nominal(self) -> int:
        """Number of gradients: images × steps × EOT."""
        return len(self.subject.x) * self.steps * self.eot


Run = Callable[[], Tensor]
"""Runs one whole attack and returns the adversarial images."""


@dataclass(frozen=True)
class Contestant:
    """kind: `pgd` or `apgd`. module: to be imported. eot: its way of averaging draws. prepare: a task → its run."""

    name: str
    kind: str
    module: str
    eot: str
    prepare: Callable[[Task], Run]

    @property
    def ours(self) -> bool:
        """True for attacks of purebench."""
        return self.module == "purebench"


class MeanOfDraws(nn.Module):
    """The mean log-probabilities of `draws` passes in one batch, for libraries without EOT."""

    def __init__(self, model: Counted, draws: int):
        super().__init__()
        self.model, self.draws = model, draws
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """[N,C,H,W] → [N,K]."""
        logits: Tensor = self.model(x.repeat_interleave(self.draws, 0))
        return logits.log_softmax(1).view(len(x), self.draws, -1).mean(1)


def averaged(task: Task) -> nn.Module:
    """Return the model, or the mean of its draws."""
    return task.subject.model if task.eot == 1 else MeanOfDraws(task.subject.model, task.eot)


def a_seed() -> int:
    """Return a seed from torch's generator, for libraries that seed it themselves."""
    return int(torch.randint(2**31 - 1, ()))


def ours(kind: str, gradient: str = "exact") -> Callable[[Task], Run]:
    """Return purebench's own attack, created by name."""

    def prepare(task: Task) -> Run:
        attack = registry.create("attacks", Spec(kind, {"steps": task.steps}))
        view, _ = registry.factory("views", gradient)
        defense = as_defense(task.subject.model, random=task.subject.random)

        def run() -> Tensor:
            x, y = task.subject.x, task.subject.y
            return images_of(attack(view(defense, eot=task.eot), x.clone(), y.clone(), task.threat))

        return run

    return prepare


def foolbox_pgd(task: Task) -> Run:
    """Return Foolbox's LinfPGD at one epsilon."""
    import foolbox
    from foolbox.models.pytorch import PyTorchModel
    from foolbox.models.wrappers import ExpectationOverTransformationWrapper

    model: Any = PyTorchModel(task.subject.model, bounds=(0, 1), device=task.subject.x.device)
    if task.eot > 1:
        model = ExpectationOverTransformationWrapper(model, n_steps=task.eot)
    attack = foolbox.attacks.LinfPGD(rel_stepsize=task.relative_step, steps=task.steps)
    criterion = foolbox.criteria.Misclassification(task.subject.y)
    # `run` is the attack alone; calling the object would add a pass over the results
    return lambda: attack.run(model, task.subject.x, criterion, epsilon=task.threat.radius)


def art_attack(name: str, first_step: float | None, **options: Any) -> Callable[[Task], Run]:
    """Return an ART attack by class name; `first_step` in radii, None for that of PGD."""

    def prepare(task: Task) -> Run:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        x, radius = task.subject.x, task.threat.radius
        classifier = PyTorchClassifier(
            model=averaged(task),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=10,
            clip_values=(0.0, 1.0),
            device_type="gpu" if x.device.type == "cuda" else "cpu",
        )
        step = task.relative_step if first_step is None else first_step
        attack = vars(evasion)[name](
            classifier,
            norm=np.inf,
            eps=radius,
            eps_step=step * radius,
            max_iter=task.steps,
            batch_size=len(x),
            verbose=False,
            **options,
        )
        images, labels = x.cpu().numpy(), task.subject.y.cpu().numpy()
        return lambda: torch.as_tensor(attack.generate(x=images, y=labels)).to(x)

    return prepare


def autoattack_apgd(task: Task) -> Run:
    """Return APGD of AutoAttack's package."""
    from pyautoattack.autopgd_base import APGDAttack

    x, y = task.subject.x, task.subject.y
    attack = APGDAttack(
        task.subject.model,
        n_iter=task.steps,
        norm="Linf",
        eps=task.threat.radius,
        eot_iter=task.eot,
        device=x.device,
    )

    def run() -> Tensor:
        attack.seed = a_seed()
        found: Tensor = attack.perturb(x, y)
        return found

    return run


def torchattacks_pgd(task: Task) -> Run:
    """Return torchattacks' PGD, or its EOTPGD for more than one draw."""
    import torchattacks  # type: ignore[import-not-found, unused-ignore]

    options = {"eps": task.threat.radius, "alpha": task.relative_step * task.threat.radius, "steps": task.steps}
    model = task.subject.model
    attack = (
        torchattacks.PGD(model, **options)
        if task.eot == 1
        else torchattacks.EOTPGD(model, eot_iter=task.eot, **options)
    )
    return lambda: attack(task.subject.x, task.subject.y)


def torchattacks_apgd(task: Task) -> Run:
    """Return torchattacks' APGD."""
    import torchattacks  # type: ignore[import-not-found, unused-ignore]

    attack = torchattacks.APGD(task.subject.model, eps=task.threat.radius, steps=task.steps, eot_iter=task.eot)

    def run() -> Tensor:
        attack.seed = a_seed()
        found: Tensor = attack(task.subject.x, task.subject.y)
        return found

    return run


def adv_lib_pgd(task: Task) -> Run:
    """Return adversarial-library's PGD."""
    from adv_lib.attacks import pgd_linf  # type: ignore[import-not-found, unused-ignore]

    x, y, model = task.subject.x, task.subject.y, averaged(task)
    options = {"steps": task.steps, "relative_step_size": task.relative_step}
    return lambda: pgd_linf(model, x, y, task.threat.radius, **options)


def adv_lib_apgd(task: Task) -> Run:
    """Return adversarial-library's APGD."""
    from adv_lib.attacks import apgd  # type: ignore[import-not-found, unused-ignore]

    x, y = task.subject.x, task.subject.y
    options = {"norm": float("inf"), "n_iter": task.steps, "eot_iter": task.eot, "loss_function": "ce"}
    return lambda: apgd(task.subject.model, x, y, task.threat.radius, **options)


LOOP, MODULE = "one draw after the other", "a module that averages draws"
CONTESTANTS = (
    Contestant("purebench PGD", "pgd", "purebench", "the draws' gradients", ours("pgd")),
    Contestant("Foolbox PGD", "pgd", "foolbox", "its wrapper: mean logits", foolbox_pgd),
    Contestant("ART PGD", "pgd", "art", MODULE, art_attack("ProjectedGradientDescentPyTorch", None, num_random_init=1)),
    Contestant("torchattacks PGD", "pgd", "torchattacks", LOOP, torchattacks_pgd),
    Contestant("adversarial-library PGD", "pgd", "adv_lib.attacks", MODULE, adv_lib_pgd),
    Contestant("purebench APGD", "apgd", "purebench", "the draws' gradients", ours("apgd")),
    Contestant("AutoAttack APGD", "apgd", "pyautoattack", LOOP, autoattack_apgd),
    Contestant("ART APGD", "apgd", "art", MODULE, art_attack("AutoProjectedGradientDescent", 2.0, nb_random_init=1)),
    Contestant("torchattacks APGD", "apgd", "torchattacks", LOOP, torchattacks_apgd),
    Contestant("adversarial-library APGD", "apgd", "adv_lib.attacks", LOOP, adv_lib_apgd),
)


def taking_part(missing: dict[str, str], names: tuple[str, ...] = ()) -> list[Contestant]:
    """Return the contestants (of these names, if given) that can be imported; others go into `missing`."""
    found = []
    for one in CONTESTANTS:
        if names and one.name not in names:
            continue
        try:
            importlib.import_module(one.module)
        except Exception as error:  # the import of a library may raise any exception
            missing[one.name] = told(error)
        else:
            found.append(one)
    return found


def told(error: BaseException) -> str:
    """Return an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
