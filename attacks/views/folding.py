"""Batch norm folded into the convolution before it, in the copy of a classifier that native attacks take gradients of.

In eval mode batch norm is (z - mean)·s + beta with s = gamma / sqrt(var + eps), which a convolution z = W∗x + b can do
itself: (s·W)∗x + (b - mean)·s + beta (Jacob et al. 2018, arXiv:1712.05877, section 3.2). The function stays the same up
to rounding, and a pass has one layer less.

Nothing is traced or rewritten: the modules' own `forward` runs at each pass, its randomness included, on copies that
share all but the layers of a pair. The convolution answers with a stand-in that is NaN all over and keeps its input;
the batch norm, given that very stand-in, answers with the folded convolution of that input. Whatever else looks at a
stand-in becomes NaN; a batch norm that is given anything else, or weights that have changed, raise `Unmet`: either way
the caller asks the original instead (see `View`). Which layers are pairs is seen at a few images, where logits and
gradients must also agree with the original's under the same seed.

What remains is a forward that, only at other images or draws than those, looks at a convolution's bare answer in a way
that swallows NaN (a comparison) or changes weights through `.data`; and what a module counts in Python, its copy counts
instead. An attack could then be misled as by any masked gradient; the answers that decide, `scores` and the
verification, are always the original's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from purebench.attacks.views.twins import held, layers, rebuilt, twin
from purebench.core.protocols import check_logits
from purebench.core.seeds import seeded

CLOSE = 1e-4
"""Largest difference of a logit from the original's, as a share of the largest logit, or of 1 if that is smaller."""
GRADIENT_CLOSE = 1e-2
"""Largest distance of the gradients, as a share of the original's: at the bend of a ReLU, rounding decides the side."""


class Unmet(RuntimeError):
    """A batch norm was given something else than what its convolution had just answered: the copy does not hold."""


@dataclass(frozen=True)
class Folding:
    """classifier: the copy, or the very object that was given. pairs: how many were folded.

    passes: images that were passed forward and backward to find out, half of them through the original's own layers.
    """

    classifier: Callable[[Tensor], Tensor]
    pairs: int = 0
    passes: int = 0


def folded(classifier: Callable[[Tensor], Tensor], example: Tensor, *, channels_last: bool = True) -> Folding:
    """The classifier with its convolutions and batch norms folded; nothing of the given one is changed.

    classifier: images [N,C,H,W] → logits [N,K]; example: a few images to try it on, as the classifier gets them;
    channels_last: keep the copy's weights, and so what it passes on, with the channels of a pixel side by side where
    the classifier bears that (a `view` of several pixels does not). The same object comes back where there is nothing
    to fold (no batch norm in eval mode behind a convolution that nobody else uses; modules with hooks, parametrizations
    or a `forward` of their own are left alone with all that is inside), and where the classifier is no module, fails,
    or its copy answers otherwise. What it draws at random on the way is not missing from the caller's generators.
    Raises nothing.
    """
    some = list(layers(classifier)) if isinstance(classifier, nn.Module) else []
    if not isinstance(classifier, nn.Module) or {type(layer) for layer in some} != {nn.Conv2d, nn.BatchNorm2d}:
        return Folding(classifier)
    passes = 0
    try:
        watch = _Watch(some)
        passes += len(example)
        with watch:
            expected = _slope(rebuilt(classifier, {id(one): twin(one, watch) for one in some}), example)
    except Exception:  # whatever goes wrong while it is tried, the original is there
        return Folding(classifier, passes=passes)
    pairs = watch.pairs()
    for layout in (torch.channels_last, torch.contiguous_format)[0 if channels_last else 1 :] if pairs else ():
        passes += len(example)
        if (copy := _copied(classifier, pairs, layout, example, expected)) is not None:
            return Folding(copy, len(pairs), passes)
    return Folding(classifier, passes=passes)


def _copied(
    classifier: nn.Module,
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]],
    layout: torch.memory_format,
    example: Tensor,
    expected: tuple[Tensor, Tensor],
) -> nn.Module | None:
    """The copy, with its weights in that layout; None where it fails or answers otherwise."""
    try:
        roles = [(_Pair(conv, norm, layout), conv, norm) for conv, norm in pairs]
        copy = rebuilt(classifier, {id(one): twin(one, role) for role, *both in roles for one in both})
        return copy if _agree(_slope(copy, example), expected) else None
    except Exception:  # as above
        return None


def _slope(classifier: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N,K], and the gradient [N,C,H,W] of a sum of them in which every class has another weight."""
    leaf = images.detach().requires_grad_()
    plain = torch.autocast(images.device.type, enabled=False)
    with torch.enable_grad(), plain, seeded("folding", device=images.device):
        logits = check_logits(classifier(leaf), len(leaf))
        weights = torch.arange(1, logits.shape[1] + 1, device=logits.device).cos()
        (gradient,) = torch.autograd.grad((logits * weights).sum(), leaf)
    return logits.detach(), gradient


def _agree(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> bool:
    """Whether logits and gradients are the same but for rounding."""
    logits, gradient = (one - other for one, other in zip(found, expected, strict=True))
    near = float(logits.abs().max()) <= CLOSE * max(1.0, float(expected[0].abs().max()))
    return near and float(gradient.norm()) <= GRADIENT_CLOSE * float(expected[1].norm())


class _Watch(TorchFunctionMode):
    """Sees which convolutions' answers go to which batch norms, and whether anything else looks at them.

    Every answer is kept, so that no other tensor gets its identity. Looking at a layer's weights counts as well: who
    does may change them.
    """

    def __init__(self, some: list[nn.Module]) -> None:
        super().__init__()
        self.weights = {id(one) for layer in some for _, _, one in held(layer)}
        self.answers: dict[int, tuple[Tensor, nn.Conv2d]] = {}
        self.calls: list[nn.Module] = []
        self.met: list[tuple[nn.Conv2d, nn.BatchNorm2d, Tensor]] = []
        self.others: set[int] = set()
        self.inside = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Any function or property of tensors, except where a twin does its own work."""
        if not self.inside:
            self._looked_at(args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def convolve(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """The convolution's answer."""
        self.calls.append(conv)
        self._looked_at([x])
        with self._within():
            z = nn.Conv2d.forward(conv, x)
            if tuple(z.shape) == _size(conv, x):
                self.answers[id(z)] = z, conv
        return z

    def normalise(self, norm: nn.BatchNorm2d, z: Tensor) -> Tensor:
        """The batch norm's answer."""
        self.calls.append(norm)
        if id(z) in self.answers:
            self.met.append((self.answers[id(z)][1], norm, z))
        with self._within():
            return nn.BatchNorm2d.forward(norm, z)

    def _looked_at(self, *things: Any) -> None:
        """Somebody has these, lists or dicts of anything, in hand."""
        self.others |= (self.answers.keys() | self.weights) & {id(one) for one in _flat(things)}

    @contextmanager
    def _within(self) -> Iterator[None]:
        """While a twin does its own work, nobody else looks."""
        self.inside = True
        yield
        self.inside = False

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """The layers that were asked once each, and whose middle and weights nobody else looked at."""
        asked = Counter(id(layer) for layer in self.calls)
        met = Counter(id(z) for _, _, z in self.met)
        return [
            (vars(conv)["origin"], vars(norm)["origin"])
            for conv, norm, z in self.met
            if asked[id(conv)] == asked[id(norm)] == met[id(z)] == 1 and not self._seen(z, conv, norm)
        ]

    def _seen(self, z: Tensor, *both: nn.Module) -> bool:
        weights = [one for layer in both for _, _, one in held(layer)]
        return bool(self.others & {id(one) for one in (z, *weights)})


class _Pair:
    """A convolution and the batch norm after it as one convolution."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, layout: torch.memory_format):
        weight, self.bias = _weights(conv, norm)
        self.weight = weight.contiguous(memory_format=layout)
        self.sources = [(where, name, one, one._version) for layer in (conv, norm) for where, name, one in held(layer)]
        self.waiting: tuple[Tensor, nn.Conv2d, Tensor, int] | None = None

    def convolve(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """A stand-in for the convolution's answer."""
        stand_in = torch.full((), torch.nan, dtype=x.dtype, device=x.device).expand(_size(conv, x))
        self.waiting = stand_in, conv, x, x._version
        return stand_in

    def normalise(self, norm: nn.BatchNorm2d, z: Tensor) -> Tensor:
        """The answer of both, to what the convolution was given. Raises Unmet if z is not the stand-in."""
        waiting, self.waiting = self.waiting, None
        if waiting is None or waiting[0] is not z:
            raise Unmet("expected a batch norm to be given what its convolution had just answered")
        _, conv, x, version = waiting
        if x._version != version:
            raise Unmet("expected what the convolution was given to stay as it is until its batch norm")
        kept = all(where[name] is one and one._version == then for where, name, one, then in self.sources)
        if norm.training or not kept:
            raise Unmet("expected the layers to stay as they were when they were folded")
        both: Tensor = conv._conv_forward(x, self.weight, self.bias)
        return both


def _weights(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the convolution that does both; what is computed for each channel, in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    middle = -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
    bias = middle * scale if norm.bias is None else middle * scale + norm.bias.double()
    weight = conv.weight * scale.to(conv.weight.dtype).view(-1, 1, 1, 1)
    return weight.detach(), bias.detach().to(weight.dtype)


def _size(conv: nn.Conv2d, x: Tensor) -> tuple[int, ...]:
    """The shape of the convolution's answer to x [N,C,H,W], its padding given in numbers."""
    assert not isinstance(conv.padding, str)
    geometry = zip(x.shape[-2:], conv.padding, conv.dilation, conv.kernel_size, conv.stride, strict=True)
    sides = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in geometry]
    return (*x.shape[:-3], conv.out_channels, *sides)


def _flat(things: Any) -> Iterator[Any]:
    """What is in nested lists, tuples and dicts."""
    for thing in things.values() if isinstance(things, dict) else things:
        if isinstance(thing, list | tuple | dict):
            yield from _flat(thing)
        else:
            yield thing
