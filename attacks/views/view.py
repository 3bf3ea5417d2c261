"""Defines the view of an attacker: a defense with a gradient mode and EOT, whose draws of an image go in one batch.

BPDA and EOT (Athalye et al. 2018, arXiv:1802.00420) are properties of the view, not of the attack: native attacks take
the mean of the draws' loss gradients from `look`, attacks of libraries differentiate through `as_module`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from purebench.attacks.views.draws import Draws, draws_at
from purebench.attacks.views.look import Look, Loss, Objective, gradient_warnings
from purebench.attacks.views.look_counters import LookCounters
from purebench.attacks.views.view_module import NO_GRADIENT, ViewModule, passes_gradient
from purebench.core.answers import check_logits
from purebench.core.compute.batching import DeviceBatch
from purebench.core.compute.cast_weights import CastWeights, in_bf16
from purebench.core.compute.compiled import Compiled
from purebench.core.compute.devices import tf32
from purebench.core.defense import Defense
from purebench.core.errors import PurebenchError
from purebench.core.warning_codes import ResultWarning, WarningCode, joined


@dataclass
class View:
    """A defense as an attack sees it, with counters of the cost.

    Attributes:
        defense: The defense under attack.
        purify: Maps images [N,C,H,W] to the input of the classifier; its gradient depends on the gradient mode.
        random: Whether two passes may differ.
        decides: Whether a misclassification seen through this view is one of the defense itself.
        eot: EOT samples, the draws that `look` averages over; one draw if the view is not random.
        batch: Splits the work into batches that fit the device.
        precision: `float32`; `bf16` or `tf32` for the passes of `look` and of coarse `scores`. The losses are float32.
        forwards: Images passed forward so far.
        backwards: Images passed backward so far.
        told: Notes for the record.
        warned: Warnings for the record, without those that are derived from the counters.
        looked: Images whose gradient was computed.
        flat: Of these, images whose gradient was zero while they were still classified correctly.
        not_finite: Of these, images whose gradient was not finite.
        counters: Counts the wrong draws of the looks at each image; None where they are not counted.
        start: Points [N,C,H,W] at which the first run of an attack starts; None for the attack's own start.
        cast: The defense's weights in the view's precision; None before the first pass in bf16.
        compiled: The defense's networks, called compiled where the precision is used; None for uncompiled passes.
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
    counters: LookCounters | None = None
    start: Tensor | None = None
    cast: CastWeights | None = field(default=None, repr=False)
    compiled: Compiled | None = field(default=None, repr=False)
    changes_loss: ClassVar[bool] = False
    """True if `look` evaluates another loss than that of the defense's logits; only attacks that call it use that."""

    def note(self, told: str) -> None:
        """Add a note to the record, unless it is there already."""
        if told not in self.told:
            self.told.append(told)

    def warn(self, code: WarningCode, text: str, count: int | None = None, of: int | None = None) -> None:
        """Add a warning to the record; equal warnings are joined, with their counts added.

        Args:
            code: Code of the warning; logic depends on the code alone.
            text: A sentence for readers, without numbers. If something was counted, it ends with what was counted.
            count: How many, None where nothing was counted.
            of: Out of how many.
        """
        self.warned = list(joined([*self.warned, ResultWarning(code, text, count, of)]))

    @property
    def notes(self) -> list[str]:
        """Notes that a reader of the record must know."""
        return self.told

    @property
    def warnings(self) -> list[ResultWarning]:
        """Warnings that the accuracy under the attack may be too high."""
        return [*self.warned, *gradient_warnings(self.looked, self.flat, self.not_finite)]

    def count_looks(self, images: int) -> None:
        """Count the wrong draws of the attack's looks at that many images, if the draws are the random defense's own.

        Args:
            images: Number of images that will be attacked.
        """
        self.counters = LookCounters(images) if self.random and self.decides else None

    @property
    def draws(self) -> int:
        """Draws of one `look`: `eot`, or one if the view is not random."""
        return self.eot if self.random else 1

    def logits(self, x: Tensor, *, coarse: bool = False) -> Tensor:
        """Compute the logits [N,K] in one differentiable pass, which is counted and checked.

        Args:
            x: Images [N,C,H,W] in [0,1].
            coarse: Use the view's precision and its compiled networks; otherwise float32.
        """
        if not coarse:
            with tf32(False):
                return self._pass(x)
        with self.coarse(x):
            return self._pass(x)

    @contextmanager
    def coarse(self, x: Tensor) -> Iterator[None]:
        """Return a context in which passes over images like x have the view's precision, and compiled networks."""
        with tf32(self.precision == "tf32"), ExitStack() as stack:
            if self.precision == "bf16":
                self.cast = self.cast or CastWeights(self.defense)
                stack.enter_context(in_bf16(x.device, self.cast))
            if self.compiled is not None:
                stack.enter_context(self.compiled)
            yield

    def _pass(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        return check_logits(self.defense.classifier(self.purify(x)), len(x)).to(x.dtype)

    @torch.no_grad()
    def scores(self, x: Tensor, draws: int | None = None, *, coarse: bool = False) -> Tensor:
        """Compute the logits [N,draws,K] of fresh draws, without gradients.

        Args:
            x: Images [N,C,H,W] in [0,1].
            draws: Draws per image; None for `eot`. A view that is not random always takes one.
            coarse: Use the view's precision and its compiled networks; otherwise float32.
        """
        count = (draws or self.eot) if self.random else 1
        (found,) = self.drawn(lambda part: (self.logits(part, coarse=coarse),), count, x)
        return found.view(len(x), count, -1)

    def drawn(self, work: Callable[..., tuple[Tensor, ...]], count: int, *rows: Tensor) -> tuple[Tensor, ...]:
        """Return work(*rows) for `count` draws of each image, [N·count,…], the draws of an image one after the other.

        All draws go in one batch, unless the draws of one call share their random choice: then each draw is a call of
        its own.
        """
        if count > 1 and self.defense.shares_draws:
            calls = [self.batch.map(work, *rows) for _ in range(count)]
            return tuple(torch.stack(parts, 1).flatten(0, 1) for parts in zip(*calls, strict=True))
        return self.batch.map(work, *(each.repeat_interleave(count, 0) if count > 1 else each for each in rows))

    def look(self, x: Tensor, y: Tensor, loss: Loss, *, signs: bool = False) -> Look:
        """Evaluate a loss and its gradient, averaged over `draws` fresh draws.

        A gradient that is not finite counts as zero, with a warning.

        Args:
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N], or [N,2] of a targeted loss.
            loss: The loss to evaluate.
            signs: Average the signs of the draws' gradients instead of the gradients.

        Returns:
            Mean loss, mean gradient of the loss, and the logits of all draws.

        Raises:
            PurebenchError: If no gradient reaches the image at all.
        """

        def objective(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return self.evaluate(images, labels, loss)

        labels = y if y.ndim == 1 else y[:, 0]
        return self.ascend(
            objective, x, y, done=lambda logits: (logits.argmax(2) != labels[:, None]).all(1), signs=signs
        )

    def evaluate(self, images: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Return what `look` maximises at one draw of each image; a view may override it.

        Args:
            images: Images [M,C,H,W] in [0,1], which require a gradient.
            labels: Labels [M], or [M,2] of a targeted loss.
            loss: The loss of the attack.

        Returns:
            The values to maximise [M], differentiable, and the logits of the defense [M,K].
        """
        logits = self.logits(images, coarse=True)
        return loss(logits, labels), logits

    def ascend(
        self,
        objective: Objective,
        x: Tensor,
        *rows: Tensor,
        done: Callable[[Tensor], Tensor] | None = None,
        signs: bool = False,
    ) -> Look:
        """Evaluate an objective and its gradient as `look` does; the objective may take further rows.

        Args:
            objective: Maps images and rows to the values and the logits (see `Objective`).
            x: Images [N,C,H,W] in [0,1].
            *rows: Tensors [N,…] with one row per image, passed on to the objective.
            done: Maps logits [N,draws,K] to a mask [N] of images that need no further attack, for which a gradient of
                zero is expected (the DLR loss is constant where the true class is the third).
            signs: Average the signs of the draws' gradients instead of the gradients.

        Returns:
            Mean value, mean gradient, and the logits of all draws.

        Raises:
            PurebenchError: If no gradient reaches the image at all.
        """

        def part(images: Tensor, *others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            leaf = images.detach().requires_grad_()
            with torch.enable_grad(), tf32(self.precision == "tf32"):  # the backward pass too
                values, shown = objective(leaf, *others)
                (gradient,) = torch.autograd.grad(passes_gradient(values).sum(), leaf, allow_unused=True)
            self.backwards += len(images)
            if gradient is None:
                raise PurebenchError(NO_GRADIENT)
            if signs:
                gradient = gradient.sign() + 0 * gradient  # NaN where the gradient is not finite
            return values.detach(), gradient, shown.detach()

        count = self.draws
        if count == 1:
            values, gradient, shown = self.batch.map(part, x, *rows)
            shown = shown[:, None]
        else:
            values, gradient, shown = self.drawn(part, count, x, *rows)
            values, shown = values.view(len(x), count).mean(1), shown.view(len(x), count, -1)
            gradient = gradient.view(len(x), count, *x.shape[1:]).mean(1)
        gradient = self.checked(gradient, lambda: None if done is None else done(shown))
        return Look(values, gradient, shown)

    def draws_at(self, x: Tensor, y: Tensor, loss: Loss, draws: int) -> Draws:
        """Evaluate a loss on fresh draws that are kept apart, and that gradients can be pulled back through.

        Args:
            x: Images [N,C,H,W] in [0,1].
            y: Labels [N], or [N,2] of a targeted loss.
            loss: The loss to evaluate.
            draws: Draws per image.

        Returns:
            The draws; see `Draws` for their cost.
        """
        return draws_at(self, x, y, loss, draws)

    def checked(self, gradient: Tensor, done: Callable[[], Tensor | None], *, again: bool = False) -> Tensor:
        """Count gradients that are zero or not finite, and return the gradient with zeros where it is not finite.

        Args:
            gradient: Gradient of each image, [N,…].
            done: Called if a gradient is zero; returns which images need no further attack, bool [N], or None.
            again: Whether it is another part of gradients that are counted already.
        """
        self.looked += 0 if again else len(gradient)
        sums = gradient.flatten(1).sum(1)  # a quick test that almost always finds nothing wrong
        if bool(((sums == 0) | ~sums.isfinite()).any()):
            gradient = self._suspect(gradient, done())
        return gradient

    def _suspect(self, gradient: Tensor, done: Tensor | None) -> Tensor:
        """Return the gradient [N,C,H,W], zero where not finite; count the images where it is zero but not `done`."""
        if not bool(torch.isfinite(gradient).all()):
            self.not_finite += int((~gradient.flatten(1).isfinite().all(1)).sum())
            gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        flat = ~gradient.flatten(1).any(1)
        self.flat += int((flat if done is None else flat & ~done).sum())
        return gradient

    def as_module(self) -> nn.Module:
        """Return the view as a module for libraries that make one pass.

        The module maps images [N,C,H,W] to the draws' mean log-probabilities [N,K], or to the logits if there is one
        draw.
        """
        return ViewModule(self)
