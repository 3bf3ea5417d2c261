"""What the attacker differentiates: a defense under a gradient mode and EOT, the draws of an image in one pass.

BPDA + EOT (Athalye et al. 2018, arXiv:1802.00420) is a way of seeing a defense, not an attack: native attacks take the
mean of the draws' loss gradients from `look`, libraries differentiate through `as_module`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from purebench.attacks.views.folding import Folding, folded
from purebench.core.batching import DeviceBatch, out_of_memory
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.protocols import Inapplicable, check_logits
from purebench.core.warning_codes import ResultWarning, WarningCode, joined

Loss = Callable[[Tensor, Tensor], Tensor]
"""loss(logits [M,K], labels [M]) → [M], larger where the attack is doing better."""

Objective = Callable[..., tuple[Tensor, Tensor]]
"""objective(images [M,C,H,W], *rows [M,…]) → what is to grow [M], and what to show of it [M,K]."""

TRIED = 2
"""Images on which a folded classifier is tried before it is used."""
OFTEN = 0.05
"""Share of looks with a gradient of zero above which there is a warning."""
FLAT = "gradients may be masked; gradients of zero at images still classified correctly"
NOT_FINITE = "gradients may be masked; gradients that are not finite, which count as zero"
NO_GRADIENT = (
    "no gradient arrives at the image through this view (a detach or a no_grad on the way?); "
    "expected one for this attack: take the view bpda, or an attack that needs none."
)


@dataclass(frozen=True)
class Look:
    """What one look at N points shows: mean loss over the draws [N], its gradient [N,C,H,W], logits [N,draws,K]."""

    loss: Tensor
    gradient: Tensor
    logits: Tensor


@dataclass
class View:
    """A defense as an attack sees it.

    defense: what is attacked. purify: images [N,C,H,W] → what the classifier sees, differentiable as the gradient mode
    has it. random: whether two passes may differ. decides: whether a wrong answer seen here is one of the defense
    itself. eot: draws a look averages over (one if not random). precision: float32, or bf16 for the passes of a look
    (its losses, and all `scores`, are float32). folds: whether a look may go through a copy of the classifier, the same
    but for rounding, whose batch norms are folded into its convolutions (see folding.py). forwards, backwards: images
    passed so far. looked, flat, not_finite: images looked at, those whose gradient was zero while
    they were still right, and those whose gradient was not finite.
    """

    defense: Defense
    purify: Callable[[Tensor], Tensor]
    random: bool
    decides: bool
    eot: int = 1
    batch: DeviceBatch = field(default_factory=DeviceBatch)
    precision: str = "float32"
    forwards: int = 0
    backwards: int = 0
    told: list[str] = field(default_factory=list)
    warned: list[ResultWarning] = field(default_factory=list)
    looked: int = 0
    flat: int = 0
    not_finite: int = 0
    folds: bool = True
    _folding: Folding | None = field(default=None, init=False, repr=False)

    def note(self, told: str) -> None:
        """Adds a note for the record, once."""
        if told not in self.told:
            self.told.append(told)

    def warn(self, code: WarningCode, text: str, count: int | None = None, of: int | None = None) -> None:
        """Adds a warning for the record; equal ones become one, with their counts added.

        Args:
            code: what it says; logic decides by it alone.
            text: a sentence for people, without numbers. Where something was counted it ends with what was.
            count: how many, None where nothing was counted.
            of: of how many.
        """
        self.warned = list(joined([*self.warned, ResultWarning(code, text, count, of)]))

    @property
    def notes(self) -> list[str]:
        """What a reader of the record must know."""
        return self.told

    @property
    def warnings(self) -> list[ResultWarning]:
        """Why the accuracy under the attack may be too high."""
        found = list(self.warned)
        if self.not_finite:
            found.append(ResultWarning(WarningCode.NON_FINITE_GRADIENT, NOT_FINITE, self.not_finite, self.looked))
        if self.flat > OFTEN * self.looked:
            found.append(ResultWarning(WarningCode.ZERO_GRADIENT, FLAT, self.flat, self.looked))
        return found

    @property
    def draws(self) -> int:
        """Draws of one look: eot, or one where nothing is random."""
        return self.eot if self.random else 1

    def logits(self, x: Tensor, *, coarse: bool = False, fold: bool = False) -> Tensor:
        """One pass, differentiable; counted and checked.

        coarse: in the view's precision, else in float32. fold: through the folded classifier, where there is one.
        """
        if not coarse or self.precision == "float32":
            return self._pass(x, fold)
        with torch.autocast(x.device.type, torch.bfloat16):
            return self._pass(x, fold).float()

    def _pass(self, x: Tensor, fold: bool) -> Tensor:
        """The logits by way of the folded copy, or of the classifier, which is asked where the copy does not hold."""
        self.forwards += len(x)
        purified, classifier = self.purify(x), self.defense.classifier
        if fold and (copy := self._copy(purified)) is not classifier:
            try:
                return check_logits(copy(purified), len(x)).to(x.dtype)
            except Exception as error:  # whatever the copy does, the classifier is there
                if out_of_memory(error):
                    raise
            self._folding = Folding(classifier)
            self.note("folding the classifier's batch norms did not hold at a pass; attacked as it is from there on")
            return self._pass(x, fold=False)
        return check_logits(classifier(purified), len(x)).to(x.dtype)

    def _copy(self, purified: Tensor) -> Callable[[Tensor], Tensor]:
        """The folded classifier, made at the first look from the first images it sees; or the classifier itself."""
        if self._folding is None:
            classifier, example = self.defense.classifier, purified.detach()[:TRIED]
            example = example.float() if self.precision != "float32" else example
            quick = example.device.type == "cpu" or self.precision != "float32"
            found = folded(classifier, example, channels_last=quick) if self.folds else Folding(classifier)
            self._folding = found
            self.forwards += self._folding.passes
            self.backwards += self._folding.passes
        return self._folding.classifier

    @torch.no_grad()
    def scores(self, x: Tensor, draws: int | None = None) -> Tensor:
        """Logits [N,draws,K] of fresh draws, without gradients; `draws` counts only where the view is random."""
        count = (draws or self.eot) if self.random else 1
        (found,) = self._drawn(lambda part: (self.logits(part),), count, x)
        return found.view(len(x), count, -1)

    def _drawn(self, work: Callable[..., tuple[Tensor, ...]], count: int, *rows: Tensor) -> tuple[Tensor, ...]:
        """work(*rows) of `count` draws of each image, [N·count,…], those of an image one after the other.

        They pass together, unless draws of one call are the same draw: then each is a call of its own.
        """
        if count > 1 and self.defense.shares_draws:
            calls = [self.batch.map(work, *rows) for _ in range(count)]
            return tuple(torch.stack(parts, 1).flatten(0, 1) for parts in zip(*calls, strict=True))
        return self.batch.map(work, *(each.repeat_interleave(count, 0) if count > 1 else each for each in rows))

    def look(self, x: Tensor, y: Tensor, loss: Loss) -> Look:
        """Mean loss, mean gradient of the loss and logits over `draws` fresh draws at x [N,C,H,W], labels y [N,…].

        A gradient that is not finite counts as zero, and a warning says so. Raises PurebenchError where no gradient
        arrives at the image at all.
        """

        def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.logits(images, coarse=True, fold=True)
            return loss(logits, labels), logits

        labels = y if y.ndim == 1 else y[:, 0]
        return self.ascend(objective, x, y, done=lambda logits: (logits.argmax(2) != labels[:, None]).all(1))

    def ascend(
        self, objective: Objective, x: Tensor, *rows: Tensor, done: Callable[[Tensor], Tensor] | None = None
    ) -> Look:
        """`look` with an objective of images and of any rows [N,…] that go with them; its second part is the logits.

        done: which images' logits [N,draws,K] leave nothing to attack, bool [N], where a gradient of zero is no wonder
        (the DLR loss is constant where the true class is the third).
        """

        def part(images: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            leaf = images.detach().requires_grad_()
            with torch.enable_grad():
                values, shown = objective(leaf, *others)
                (gradient,) = torch.autograd.grad(passes_gradient(values).sum(), leaf, allow_unused=True)
            self.backwards += len(images)
            if gradient is None:
                raise PurebenchError(NO_GRADIENT)
            return values.detach(), gradient, shown.detach()

        count = self.draws
        if count == 1:
            values, gradient, shown = self.batch.map(part, x, *rows)
            shown = shown[:, None]
        else:
            values, gradient, shown = self._drawn(part, count, x, *rows)
            values, shown = values.view(len(x), count).mean(1), shown.view(len(x), count, -1)
            gradient = gradient.view(len(x), count, *x.shape[1:]).mean(1)
        self.looked += len(x)
        sums = gradient.flatten(1).sum(1)  # a quick test: it tells almost always that all is well
        if bool(((sums == 0) | ~sums.isfinite()).any()):
            gradient = self._suspect(gradient, None if done is None else done(shown))
        return Look(values, gradient, shown)

    def _suspect(self, gradient: Tensor, done: Tensor | None) -> Tensor:
        """The gradient [N,C,H,W], zero where not finite; counts the images where it is zero but not `done`."""
        if not bool(torch.isfinite(gradient).all()):
            self.not_finite += int((~gradient.flatten(1).isfinite().all(1)).sum())
            gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        flat = ~gradient.flatten(1).any(1)
        self.flat += int((flat if done is None else flat & ~done).sum())
        return gradient

    def as_module(self) -> nn.Module:
        """The view as a module for libraries that make one pass: images → the draws' mean log-probabilities."""
        return _Module(self)


class _Module(nn.Module):
    """A view in eval mode whose gradient is exact, BPDA's, or the classifier's alone."""

    def __init__(self, view: View):
        super().__init__()
        self.view = view
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        view, count = self.view, self.view.draws
        x = x.float()  # some libraries hand over float64
        apart = count > 1 and bool(view.defense.shares_draws)
        many = x if count == 1 or apart else x.repeat_interleave(count, 0)
        if torch.is_grad_enabled() and x.requires_grad:
            view.backwards += len(x) * count
            passes = [passes_gradient(view.logits(many, coarse=True)) for _ in range(count if apart else 1)]
            logits = torch.stack(passes, 1).flatten(0, 1) if apart else passes[0]
        else:
            logits = view.scores(x, count).flatten(0, 1)
        if count == 1:
            return logits
        view.note("sees the mean of the draws' log-probabilities")
        return logits.log_softmax(1).view(len(x), count, -1).mean(1)


def passes_gradient(values: Tensor) -> Tensor:
    """The values, if a gradient can flow back from them; else raises PurebenchError."""
    if not values.requires_grad:
        raise PurebenchError(NO_GRADIENT)
    return values


def exact(defense: Defense, *, eot: int = 1) -> View:
    """The whole defense, purifier included, as it is. Raises Inapplicable where it declares it has no gradient."""
    if defense.purifier is not None and not defense.purifier.differentiable:
        raise Inapplicable("its purifier declares that no gradient comes through; bpda takes the surrogate's")
    return View(defense, defense.purify, defense.random, True, eot)


def bpda(defense: Defense, *, eot: int = 1) -> View:
    """The true purifier forward, its surrogate backward (BPDA)."""
    surrogate = None if defense.purifier is None else defense.purifier.surrogate
    return View(defense, straight_through(defense, surrogate), defense.random, True, eot)


def straight_through(defense: Defense, surrogate: Callable[[Tensor], Any] | None) -> Callable[[Tensor], Tensor]:
    """The true purifier forward, `surrogate` backward; without a purifier, the image."""
    if surrogate is None:
        return lambda x: x

    def purify(x: Tensor) -> Tensor:
        with torch.no_grad():
            purified = defense.purify(x)
        stand_in = surrogate(x)
        stand_in = stand_in if stand_in.ndim == purified.ndim else stand_in[:, None]  # an image for several votes
        # the stand-in cancels exactly, so that the value is the purifier's to the last bit
        through: Tensor = purified + (stand_in - stand_in.detach())
        return through

    return purify


def blind(defense: Defense, *, eot: int = 1) -> View:
    """The classifier alone: an attacker who does not know of the purifier."""
    return View(defense, lambda x: x, defense.classifier_random, defense.purifier is None, eot)


def no_gradient(defense: Defense, *, eot: int = 1) -> View:
    """The defense's scores only; for attacks that need no gradient."""

    def purify(x: Tensor) -> Tensor:
        return defense.purify(x.detach())

    return View(defense, purify, defense.random, True, eot)
