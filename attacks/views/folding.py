"""Folds batch norms into the convolutions before them, in a copy of a classifier that native attacks differentiate.

In eval mode batch norm is (z - mean)·s + beta with s = gamma / sqrt(var + eps), which a convolution z = W∗x + b can
compute itself: (s·W)∗x + (b - mean)·s + beta (Jacob et al. 2018, arXiv:1712.05877, section 3.2). The function stays the
same up to rounding, and a pass has one layer less.

Nothing is traced or rewritten: the modules' own `forward` runs at each pass, its randomness included, on copies that
share all but the layers of a pair. The convolution returns a placeholder that is NaN everywhere and stores its input;
the batch norm, given exactly this placeholder, returns the folded convolution of that input. Any other operation on a
placeholder gives NaN; a batch norm that is given anything else, or weights that have changed, raise `Unmet`. In both
cases the caller uses the original instead (see `View`). The pairs of layers are detected on a few images, on which
logits and gradients must also agree with the original's under the same seed.

One case remains undetected: a forward that, only at other images or draws than those, uses a convolution's own output
in a way that absorbs NaN (a comparison) or changes weights through `.data`. Also, a value that a module counts in
Python is counted in its copy instead. An attack could then be misled as by any masked gradient; the outputs that
decide, `scores` and the verification, always come from the original.
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
from purebench.core.answers import check_logits
from purebench.core.seeds import seeded

CLOSE = 1e-4
"""Largest allowed difference of a logit from the original's, relative to the largest logit, or to 1 if that is
smaller."""
GRADIENT_CLOSE = 1e-2
"""Largest allowed distance of the gradients, relative to the original's: at a ReLU's kink, rounding decides the
side."""


class Unmet(RuntimeError):
    """A batch norm was given something other than the latest output of its convolution: the copy is not valid."""


@dataclass(frozen=True)
class Folding:
    """Result of folding a classifier.

    Attributes:
        classifier: The folded copy, or the very object that was given.
        pairs: Number of folded pairs of layers.
        passes: Images that were passed forward and backward to find out, half of them through the original's own
            layers.
    """

    classifier: Callable[[Tensor], Tensor]
    pairs: int = 0
    passes: int = 0


def folded(classifier: Callable[[Tensor], Tensor], example: Tensor, *, channels_last: bool = True) -> Folding:
    """Fold the batch norms of a classifier into its convolutions, in a copy; the given classifier is not changed.

    The test does not advance the caller's random generators. No exception is raised.

    Args:
        classifier: Maps images [N,C,H,W] to logits [N,K].
        example: A few images to test it on, as the classifier gets them.
        channels_last: Keep the copy's weights, and so its activations, in channels-last layout where the classifier
            supports it (a `view` of several pixels does not).

    Returns:
        The folded copy. It is the given object itself if there is nothing to fold (no batch norm in eval mode behind a
        convolution that nothing else uses; modules with hooks, parametrizations or a `forward` of their own are left
        alone with everything inside), and if the classifier is not a module, fails, or its copy answers differently.
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
    except Exception:  # if anything fails in the test, the original is used
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
    """Return the copy, with its weights in that layout; None if it fails or answers differently."""
    try:
        roles = [(_Pair(conv, norm, layout), conv, norm) for conv, norm in pairs]
        copy = rebuilt(classifier, {id(one): twin(one, role) for role, *both in roles for one in both})
        return copy if _agree(_slope(copy, example), expected) else None
    except Exception:  # as above
        return None


def _slope(classifier: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits [N,K], and the gradient [N,C,H,W] of a sum of them in which every class has a different weight."""
    leaf = images.detach().requires_grad_()
    plain = torch.autocast(images.device.type, enabled=False)
    with torch.enable_grad(), plain, seeded("folding", device=images.device):
        logits = check_logits(classifier(leaf), len(leaf))
        weights = torch.arange(1, logits.shape[1] + 1, device=logits.device).cos()
        (gradient,) = torch.autograd.grad((logits * weights).sum(), leaf)
    return logits.detach(), gradient


def _agree(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> bool:
    """Return whether logits and gradients are the same up to rounding."""
    logits, gradient = (one - other for one, other in zip(found, expected, strict=True))
    near = float(logits.abs().max()) <= CLOSE * max(1.0, float(expected[0].abs().max()))
    return near and float(gradient.norm()) <= GRADIENT_CLOSE * float(expected[1].norm())


class _Watch(TorchFunctionMode):
    """Records which convolutions' outputs go to which batch norms, and whether any other operation uses them.

    Every output is kept, so that no other tensor gets its id. An access to a layer's weights counts as a use too:
    callers may change them.
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
        """Run any function or property of tensors, and record its arguments except inside a layer's own computation."""
        if not self.inside:
            self._looked_at(args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def convolve(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """Return the convolution's output, and record the call."""
        self.calls.append(conv)
        self._looked_at([x])
        with self._within():
            z = nn.Conv2d.forward(conv, x)
            if tuple(z.shape) == _size(conv, x):
                self.answers[id(z)] = z, conv
        return z

    def normalise(self, norm: nn.BatchNorm2d, z: Tensor) -> Tensor:
        """Return the batch norm's output, and record the call."""
        self.calls.append(norm)
        if id(z) in self.answers:
            self.met.append((self.answers[id(z)][1], norm, z))
        with self._within():
            return nn.BatchNorm2d.forward(norm, z)

    def _looked_at(self, *things: Any) -> None:
        """Record that these, or lists or dicts of anything, are used elsewhere."""
        self.others |= (self.answers.keys() | self.weights) & {id(one) for one in _flat(things)}

    @contextmanager
    def _within(self) -> Iterator[None]:
        """Suspend the recording during a layer's own computation."""
        self.inside = True
        yield
        self.inside = False

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Return the layers that were called once each, and whose intermediate output and weights nothing else used."""
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
    """A convolution and the batch norm after it, computed as one convolution."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, layout: torch.memory_format):
        weight, self.bias = _weights(conv, norm)
        self.weight = weight.contiguous(memory_format=layout)
        self.sources = [(where, name, one, one._version) for layer in (conv, norm) for where, name, one in held(layer)]
        self.waiting: tuple[Tensor, nn.Conv2d, Tensor, int] | None = None

    def convolve(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """Return a placeholder for the convolution's output."""
        stand_in = torch.full((), torch.nan, dtype=x.dtype, device=x.device).expand(_size(conv, x))
        self.waiting = stand_in, conv, x, x._version
        return stand_in

    def normalise(self, norm: nn.BatchNorm2d, z: Tensor) -> Tensor:
        """Return the output of both layers for the input of the convolution.

        Raises:
            Unmet: If z is not the placeholder, or the input or the layers have changed.
        """
        waiting, self.waiting = self.waiting, None
        if waiting is None or waiting[0] is not z:
            raise Unmet("expected the input of a batch norm to be the output of its convolution")
        _, conv, x, version = waiting
        if x._version != version:
            raise Unmet("expected the input of the convolution to be unchanged until its batch norm")
        kept = all(where[name] is one and one._version == then for where, name, one, then in self.sources)
        if norm.training or not kept:
            raise Unmet("expected the layers to be unchanged since they were folded")
        both: Tensor = conv._conv_forward(x, self.weight, self.bias)
        return both


def _weights(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that does both; per-channel values are computed in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    middle = -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
    bias = middle * scale if norm.bias is None else middle * scale + norm.bias.double()
    weight = conv.weight * scale.to(conv.weight.dtype).view(-1, 1, 1, 1)
    return weight.detach(), bias.detach().to(weight.dtype)


def _size(conv: nn.Conv2d, x: Tensor) -> tuple[int, ...]:
    """Return the shape of the convolution's output for x [N,C,H,W], its padding given in numbers."""
    assert not isinstance(conv.padding, str)
    geometry = zip(x.shape[-2:], conv.padding, conv.dilation, conv.kernel_size, conv.stride, strict=True)
    sides = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in geometry]
    return (*x.shape[:-3], conv.out_channels, *sides)


def _flat(things: Any) -> Iterator[Any]:
    """Yield the leaves of nested lists, tuples and dicts."""
    for thing in things.values() if isinstance(things, dict) else things:
        if isinstance(thing, list | tuple | dict):
            yield from _flat(thing)
        else:
            yield thing
