"""The planted faults, by name. Each one is a module from (logits without the fault, images) to logits with it.

All of them leave the predicted class of each draw unchanged, which the tests check: the robust accuracy is that of the
model without the fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from purebench.defenses.controls import fault_gradients as gradients
from purebench.defenses.controls import fault_states as states

Model = Callable[[Tensor], Tensor]
Change = Callable[[Tensor, Tensor], Tensor]
"""(logits [N,K], images [N,C,H,W]) → logits [N,K] of the same predicted class."""


@dataclass(frozen=True)
class Fault:
    """A planted fault.

    Attributes:
        about: what it does, in words.
        make: makes the module, (logits without the fault as a function of images, images) → logits.
        random: whether two answers to an image may differ.
        before: the spec of a purifier in front of the classifier, "" for none.
    """

    about: str
    make: Callable[[], nn.Module]
    random: bool = False
    before: str = ""


class OnLogits(nn.Module):
    """A fault that changes the logits of one call.

    Args:
        change: the change.
    """

    def __init__(self, change: Change):
        super().__init__()
        self.change = change

    def forward(self, model: Model, x: Tensor) -> Tensor:
        """Return the changed logits [N,K]."""
        return self.change(model(x), x)


def keep_winner(changed: Tensor, logits: Tensor, lead: float) -> Tensor:
    """Return the changed logits with that of the originally predicted class at least `lead` above all others."""
    winner = logits.argmax(1, keepdim=True)
    others = changed.scatter(1, winner, -torch.inf).amax(1, keepdim=True)
    return changed.scatter(1, winner, torch.maximum(changed.gather(1, winner), others + lead))


def to_multiples(logits: Tensor, x: Tensor, *, step: float) -> Tensor:
    """Return the logits rounded to multiples of a step: piecewise constant."""
    return keep_winner((logits / step).round() * step, logits, step)


def coarse(logits: Tensor, x: Tensor, *, dtype: torch.dtype) -> Tensor:
    """Return the logits in a type of few digits, around a large constant."""
    rough = (logits / 8 + 100).to(dtype).float()
    return keep_winner(rough, logits, 0.5)


def ranks(logits: Tensor, x: Tensor) -> Tensor:
    """Return the rank of each class."""
    return logits.argsort(1).argsort(1).to(logits) + 0 * logits


def one_hot(logits: Tensor, x: Tensor) -> Tensor:
    """Return a constant for the predicted class, and 0 for the others."""
    return torch.zeros_like(logits).scatter(1, logits.argmax(1, keepdim=True), 20.0) + 0 * logits


def two_largest(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits with all but the two largest replaced by a constant (k winners take all, k = 2)."""
    least = logits.topk(2, 1).values[:, 1:]
    return torch.where(logits >= least, logits, least.detach() - 50)


def clipped(logits: Tensor, x: Tensor) -> Tensor:
    """Return logits whose largest lead is clipped, so that the margin of confident images is constant."""
    lead = logits - logits.amax(1, keepdim=True)
    return keep_winner(lead.clamp(min=-0.01), logits, 1e-3)


def flattened(logits: Tensor, x: Tensor) -> Tensor:
    """Return a steep sigmoid of the logits' difference to the largest other one, which is flat almost everywhere."""
    top = logits.topk(2, 1).values.mean(1, keepdim=True)
    return keep_winner(torch.sigmoid(50 * (logits - top)), logits, 1e-4)


def reversed_losers(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits of the classes that are not predicted, in reversed order."""
    winner = logits.argmax(1, keepdim=True)
    least = logits.amin(1, keepdim=True)
    turned = least + least - logits  # ≤ the least logit, so below the winner's
    return turned.scatter(1, winner, logits.gather(1, winner))


def sine(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits plus a fast oscillation of the image, at most a third of the lead: shattered gradients."""
    top = logits.topk(2, 1).values
    lead = (top[:, :1] - top[:, 1:]).detach()
    pattern = torch.linspace(1, 7, x[0].numel(), device=x.device, dtype=x.dtype)
    phase = 3000.0 * (x.flatten(1) * pattern).mean(1, keepdim=True)
    shift = torch.arange(logits.shape[1], device=x.device, dtype=x.dtype)
    return logits + lead / 3 * torch.sin(phase + shift)


def decoy(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits plus a steep linear function of the image on the predicted class."""
    term = 100 * (1 + x.flatten(1).mean(1, keepdim=True))
    return logits.scatter_add(1, logits.argmax(1, keepdim=True), term)


def decoys(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits plus one of eight steep linear functions, chosen once in a call, on the predicted class."""
    number = int(torch.randint(0, 8, ()))
    signs = torch.sin((number + 1.0) * torch.arange(x[0].numel(), device=x.device, dtype=x.dtype)).sign()
    term = 100 * (2 + (x.flatten(1) * signs).mean(1, keepdim=True))
    return logits.scatter_add(1, logits.argmax(1, keepdim=True), term)


def noisy_losers(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits, of which those of the classes that are not predicted are lowered at random."""
    lower = 10 * torch.rand_like(logits)
    return logits - lower.scatter(1, logits.argmax(1, keepdim=True), 0.0)


def random_scale(logits: Tensor, x: Tensor) -> Tensor:
    """Return the logits times a random positive factor."""
    return logits * torch.exp(3 * torch.randn(len(logits), 1, device=logits.device))


def scaled(logits: Tensor, x: Tensor, *, factor: float) -> Tensor:
    """Return the logits times a constant."""
    return factor * logits


def _of_logits(about: str, change: Change, *, random: bool = False, before: str = "") -> Fault:
    return Fault(about, partial(OnLogits, change), random, before)


FAULTS = {
    "saturated": _of_logits("logits times 10,000, so that softmax saturates", partial(scaled, factor=1e4)),
    "temperature": _of_logits("logits times 1e-8, so that losses hardly change", partial(scaled, factor=1e-8)),
    "quantised": _of_logits("logits rounded to multiples of 1/2", partial(to_multiples, step=0.5)),
    "coarse": _of_logits("logits rounded to multiples of 4", partial(to_multiples, step=4.0)),
    "bfloat16": _of_logits("logits in bfloat16 around 100", partial(coarse, dtype=torch.bfloat16)),
    "float16": _of_logits("logits in float16 around 100", partial(coarse, dtype=torch.float16)),
    "ranks": _of_logits("the ranks of the classes instead of logits", ranks),
    "one-hot": _of_logits("the predicted class alone instead of logits", one_hot),
    "k-wta": _of_logits("all but the two largest logits replaced by a constant", two_largest),
    "clipped": _of_logits("the lead of the predicted class clipped to a constant", clipped),
    "flattened": _of_logits("a steep sigmoid of the logits", flattened),
    "reversed-losers": _of_logits("the order of the other classes reversed", reversed_losers),
    "shattered": _of_logits("a fast oscillation of the image added to the logits", sine),
    "decoy": _of_logits("a steep linear function on the predicted class", decoy),
    "decoy-blur": _of_logits("the same behind a Gaussian blur", decoy, before="gaussian-blur(sigma=1.0)"),
    "decoy-noise": _of_logits("the same behind Gaussian noise", decoy, random=True, before="gaussian-noise(sigma=0.1)"),
    "decoy-ensemble": _of_logits("one of eight linear functions, chosen once a call", decoys, random=True),
    "noisy-losers": _of_logits("the logits of other classes lowered at random", noisy_losers, random=True),
    "random-scale": _of_logits("logits times a random positive factor", random_scale, random=True),
    "detached": Fault("the image detached from the graph", gradients.Detached),
    "reversed-gradient": Fault("the gradient with the opposite sign", partial(gradients.Changed, gradients.opposite)),
    "vanishing": Fault("the gradient times 1e-30", partial(gradients.Changed, gradients.vanishing)),
    "exploding": Fault("the gradient times 1e30", partial(gradients.Changed, gradients.exploding)),
    "not-finite": Fault("gradients of NaN", partial(gradients.Changed, gradients.not_finite)),
    "one-pixel": Fault("the gradient of one pixel in 64 alone", partial(gradients.Changed, gradients.sparse)),
    "shuffled": Fault("the gradients of the pixels permuted", partial(gradients.Changed, gradients.permuted)),
    "random-gradient": Fault(
        "a random gradient that does not depend on the model", partial(gradients.Changed, gradients.random), random=True
    ),
    "random-sign": Fault(
        "the gradient with a random sign, zero on average", partial(gradients.Changed, gradients.signed), random=True
    ),
    "other-classes": Fault("the gradients of other classes' logits", gradients.OtherClasses),
    "gradient-mode": Fault("other logits while gradients are recorded", states.GradientMode),
    "memory": Fault("the answer of an earlier query nearby", states.Memory),
}
