"""What the runner asks of a view and of an attack; both are created by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from purebench.core.batching import DeviceBatch
from purebench.core.errors import Inapplicable as Inapplicable
from purebench.core.threat import Knowledge, ThreatModel
from purebench.core.warning_codes import ResultWarning


class View(Protocol):
    """What an attacker sees of a defense; counts what it costs.

    precision: the attack's arithmetic, `float32` or `bf16`; verification is always in float32.
    """

    batch: DeviceBatch
    forwards: int
    backwards: int
    precision: str

    @property
    def notes(self) -> list[str]:
        """What a reader of the record must know."""

    @property
    def warnings(self) -> list[ResultWarning]:
        """Why the accuracy under the attack may be too high."""


@dataclass(frozen=True)
class Answer:
    """What an attack says beyond the images.

    images: x' [N,C,H,W]. nearest: True if these are the nearest adversarial images found (a minimum-norm attack), which
    may lie beyond the threat's radius; where none was found, x' is the image itself. claims: the attack's own verdict,
    bool [N], True where it thinks the defense is broken at x', wherever that is; None if it has none. certified: of a
    certificate, the radius in the threat's norm within which the answer is proven right, one an image, None where it is
    wrong or nothing was proven; None for an attack. passes: images passed besides those that the view counted.
    """

    images: Tensor
    nearest: bool = False
    claims: Tensor | None = None
    certified: Sequence[float | None] | None = None
    passes: int = 0


class Attack(Protocol):
    """(view, x, y, threat) → x': images near x [N,C,H,W] in [0,1] that the defense should get wrong.

    x' has the shape of x and obeys the threat up to rounding (unless it is an `Answer` with `nearest`); the runner
    checks.
    """

    @property
    def knowledge(self) -> Knowledge:
        """What the attack uses of the defense."""

    def __call__(self, view: View, x: Tensor, y: Tensor, threat: ThreatModel, /) -> Tensor | Answer:
        """Adversarial images. Raises Inapplicable where the attack has nothing to attack in this defense."""


class DefenseFault(Exception):
    """The defense gave an answer that is none: another shape, or values that are not finite."""


class NotLogits(DefenseFault):
    """The answer is no tensor [N,K] of floating-point numbers, whatever the images."""


class WholeFault(DefenseFault):
    """A fault of the defense itself, which no single image causes: it keeps a state, or treats passes unlike."""


def check_logits(answer: object, images: int) -> Tensor:
    """The logits of an answer, finite and [images,K], in single precision at least.

    answer: the tensor itself, or what holds it: an attribute or a key `logits`, as the outputs of Hugging Face's models
    have it, else the only two-dimensional floating-point tensor of a tuple, list or mapping.
    Raises NotLogits for anything else, with the cure, and DefenseFault for NaN or infinity.
    """
    import math

    import torch

    logits = answer if isinstance(answer, torch.Tensor) else _held(answer, images)
    if logits.ndim != 2 or len(logits) != images or logits.shape[1] < 2:
        raise NotLogits(f"expected logits of shape [{images},K] of K ≥ 2 classes, but got {list(logits.shape)}")
    if not logits.is_floating_point():
        raise NotLogits(f"expected floating-point logits, but got {logits.dtype}")
    if logits.dtype.itemsize < torch.float32.itemsize:
        logits = logits.float()
    # the sum is finite only if every value is, and quicker to ask
    if not math.isfinite(float(logits.detach().sum())) and not bool(torch.isfinite(logits).all()):
        raise DefenseFault("expected finite logits, but got NaN or infinity")
    return logits


def _held(answer: object, images: int) -> Tensor:
    """The logits that a container holds. Raises NotLogits where it is not clear which they are."""
    import torch

    named = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
    if isinstance(named, torch.Tensor):
        return named
    parts: list[object] = []
    if isinstance(answer, Mapping):
        parts = list(answer.values())
    elif isinstance(answer, list | tuple):
        parts = list(answer)
    found = [part for part in parts if isinstance(part, torch.Tensor) and part.ndim == 2 and part.is_floating_point()]
    if len(found) == 1:
        return found[0]
    cure = "return them alone"
    if isinstance(answer, Mapping):
        cure = f"wrap it: lambda x: model(x)[{next(iter(answer), 'logits')!r}]"
    elif isinstance(answer, list | tuple):
        cure = "wrap it: lambda x: model(x)[0]"
    raise NotLogits(f"expected logits as a tensor [{images},K], but got {type(answer).__name__}; {cure}")


SUM_TO_ONE = 1e-4
"""How far the sum of probabilities may be from 1."""


def are_probabilities(logits: Tensor) -> bool:
    """Whether answers [N,K] are all probabilities: none below 0, and the sum of each image's is 1."""
    return bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() <= SUM_TO_ONE).all())
