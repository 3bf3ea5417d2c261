"""Defines the protocol of attacks, and the base class of the native ones, which accept a view or a plain model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Protocol, overload

import torch
from torch import Tensor, nn

from purebench.attacks.views.gradient_modes import exact
from purebench.attacks.views.view import View
from purebench.core.answers import Answer, check_logits
from purebench.core.arguments import UnknownParameter, unknown_parameter
from purebench.core.defense import STAYS_RANDOM, Defense, as_defense
from purebench.core.errors import PurebenchError
from purebench.core.parameters import CheckedParameters
from purebench.core.threat import Knowledge, ThreatModel, parse_radius

Model = Callable[[Tensor], Tensor]


class Attack(Protocol):
    """A function (view, x, y, threat) → x' that a board can run: it searches for adversarial images near x.

    The images x' have the shape of x and lie in the threat model up to rounding, unless they are an `Answer` with
    `nearest`. The board's job checks this.
    """

    @property
    def knowledge(self) -> Knowledge:
        """The knowledge of the defense that the attack uses."""

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, /) -> Tensor | Answer:
        """Return adversarial images.

        Args:
            view: the attacker's view of the defense.
            x: images [N,C,H,W] in [0,1].
            y: their labels [N].
            threat: the threat model.

        Returns:
            Images x' of the shape of x that the defense should misclassify, or an `Answer` with more than the images.

        Raises:
            Inapplicable: the attack does not apply to this defense.
        """


class NativeAttack(CheckedParameters, ABC):
    """Base class of attacks: subclasses implement `run`; callers pass a view and a threat model, or a plain model."""

    @abstractmethod
    def run(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor | Answer:
        """Attack the defense through a view.

        Args:
            view: The defense as the attack sees it.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N], int64.
            threat: The threat model.

        Returns:
            Adversarial examples [N,C,H,W]; minimum-norm attacks return an `Answer`.
        """

    @overload
    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, /) -> Tensor | Answer: ...

    @overload
    def __call__(
        self, model: Model | Defense, x: Tensor, y: Tensor, /, *, eps: float | str, norm: str = "linf", eot: int = 1
    ) -> Tensor: ...

    def __call__(
        self,
        view: View | Model | Defense,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel | None = None,
        /,
        *,
        eps: float | str | None = None,
        norm: str = "linf",
        eot: int = 1,
        **unknown: object,
    ) -> Tensor | Answer:
        """Attack a model, or a defense through a view.

        Random starts come from torch's generator: call `torch.manual_seed` for the same result again.

        Args:
            view: A view; or a classifier in eval mode, images [N,C,H,W] in [0,1] → logits [N,K]; or a `Defense`.
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N], integers.
            threat: The threat model; only with a view.
            eps: With a model: the largest norm of the perturbation, in the units of x, such as 8/255 or "8/255".
            norm: With a model: linf, l2 or l1.
            eot: With a random `Defense`: number of EOT samples per gradient.
            **unknown: Refused by name.

        Returns:
            With a model: images [N,C,H,W] in [0,1]. Those of a bounded attack are within eps of x. Those of a
            minimum-norm attack are the nearest adversarial examples that it found, whatever their distance, or x where
            it found none.

        Raises:
            PurebenchError: If x, y, eps or norm are not as described, or the model is in training mode.
        """
        for name in unknown:
            raise _unknown(type(self).__name__, name)
        if isinstance(view, View) or threat is not None:
            if threat is None or not isinstance(view, View):
                raise PurebenchError("expected a view with a threat model, or a model with eps=8/255 and norm='linf'.")
            return self.run(view, x, y, threat)
        if eps is None:
            raise PurebenchError("expected eps, the largest norm of the perturbation, but got none; pass eps=8/255.")
        _check(view, x, y)
        allowed = ThreatModel(norm, parse_radius(eps))
        allowed.check_shape(x.shape[1:])
        with _evaluated(view) as defense:
            _check_labels(defense, x, y)
            found = self.run(exact(defense, eot=eot), x.detach(), y.long(), allowed)
        if isinstance(found, Answer):
            return found.images.detach().clamp(0, 1)
        return allowed.project(found.detach(), x.detach())


def _unknown(attack: str, name: str) -> UnknownParameter:
    if name in ("radius", "threat"):
        return UnknownParameter(f"{attack}: the parameter {name!r} is unknown; pass eps=8/255 and norm='linf'.")
    return unknown_parameter(f"{attack} on a model", name, ("eps", "norm", "eot"))


@contextmanager
def _evaluated(model: Model | Defense) -> Iterator[Defense]:
    """Provide the defense in eval mode; the modes of its parts are restored at the end.

    A plain model is wrapped in a function, so that neither its mode nor its parameters change. Whether a random defense
    shares random choices among the images of a call is not known here: each draw is a call of its own.
    """
    if not isinstance(model, Defense):
        yield as_defense(lambda images: model(images))
        return
    modes = [(part, part.training) for part in model.modules()]
    defense = copy(model)
    defense.shares_draws = model.shares_draws is None or model.shares_draws
    try:
        model.eval()
        yield defense
    finally:
        for part, mode in modes:
            part.training = mode


@torch.no_grad()
def _check_labels(defense: Defense, x: Tensor, y: Tensor) -> None:
    if len(x):
        classes = _answer(defense, x[:1]).shape[1]
        if int(y.min()) < 0 or int(y.max()) >= classes:
            raise PurebenchError(
                f"expected labels from 0 to {classes - 1} for a model with {classes} outputs, but got labels from "
                f"{int(y.min())} to {int(y.max())}."
            )


def _answer(defense: Defense, x: Tensor) -> Tensor:
    """Return the logits [1,K] of an image; raises for a type that the model refuses, and for an undeclared random one.

    The random numbers that the calls draw are not missing in the attack.
    """
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        try:
            logits = check_logits(defense(x.clone()), 1)
        except RuntimeError as error:
            if x.dtype is torch.float32:
                raise
            raise PurebenchError(
                f"expected images of the type of the model's parameters, but the model does not accept {x.dtype} "
                f"({error}); convert the images: x.float()."
            ) from error
        again = logits if defense.random else check_logits(defense(x.clone()), 1)
    if not torch.allclose(logits, again, rtol=0, atol=1e-4 * float(logits.abs().max())):
        raise PurebenchError(
            "expected equal answers to one image from a model, but two calls differ; declare that it is random: pass "
            "Defense(model, random=True), and the number of EOT samples as eot=…"
        )
    return logits


def _cure(x: Tensor) -> str:
    """Return the cure for images that are no floats [N,C,H,W] in [0,1]."""
    if x.ndim == 3:
        return "add the dimension that is missing: x[None] for one image [C,H,W], x[:, None] for images [N,H,W]"
    if x.ndim != 4:
        return "reshape them: x.reshape(N, C, H, W)"
    low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
    if not x.is_floating_point():
        return "convert them: x.float() / 255" if high > 1 else "convert them: x.float()"
    if low >= 0 and high > 2:
        return "divide them by 255: x / 255"
    if low < 0 and low >= -1 and high <= 1:
        return "map [-1,1] to [0,1]: (x + 1) / 2, with the inverse in the model"
    return "pass images before normalisation, and normalise in the model"


def _check(model: object, x: object, y: object) -> None:
    for what, given in (("images", x), ("labels", y)):
        if not isinstance(given, Tensor):
            raise PurebenchError(
                f"expected {what} as a torch tensor, but got {type(given).__module__}.{type(given).__name__}; "
                "convert them, as with torch.from_numpy."
            )
    assert isinstance(x, Tensor)
    assert isinstance(y, Tensor)
    parts = model.modules() if isinstance(model, nn.Module) and not isinstance(model, Defense) else ()
    if any(part.training and not vars(part).get(STAYS_RANDOM) for part in parts):
        raise PurebenchError("expected a model in eval mode, but it is in training mode; call model.eval() first.")
    if x.ndim != 4 or not x.is_floating_point() or not bool(((x >= 0) & (x <= 1)).all()):
        told = f"{x.dtype} of shape {list(x.shape)}"
        if x.numel() and x.is_floating_point():
            told += f" from {float(x.min()):g} to {float(x.max()):g}"
        raise PurebenchError(f"expected images [N,C,H,W] of floats in [0,1], but got {told}; {_cure(x)}.")
    if y.shape != x.shape[:1] or y.is_floating_point() or y.dtype == torch.bool:
        raise PurebenchError(f"expected labels [{len(x)}] of integers, but got {y.dtype} of shape {list(y.shape)}.")
