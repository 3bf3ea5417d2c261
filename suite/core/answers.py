"""Answers of attacks and defenses: the answer of an attack, faults of a defense's answer, validation of logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from purebench.core.errors import Inapplicable as Inapplicable
from purebench.core.files.versioned_model import STRICT, Text, Whole

if TYPE_CHECKING:
    from torch import Tensor


LEAST_DRAWS = 8
"""Least draws of a look whose wrong draws are counted: of few draws, a single wrong one is a large share."""


@dataclass(frozen=True)
class LookCount:
    """Counts of the draws of a random defense that an attack saw at one image, over all its looks of several draws.

    Attributes:
        looks: number of looks at the image.
        draws: draws of all looks together.
        wrong: how many of these draws were wrong.
        most: the largest share of wrong draws of one look, in [0,1].
        plurality_wrong: whether the most frequent class of some look was wrong; of equally frequent classes the first
            one counts.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    looks: Whole
    draws: Whole
    wrong: Whole
    most: Annotated[float, Field(ge=0, le=1)]
    plurality_wrong: bool


Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class ImageTruth:
    """The known probability of a right answer at the worst point of one image.

    Attributes:
        low: lower bound in [0,1].
        high: upper bound in [0,1]; None where it is measured on the reference of the control.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    low: Share
    high: Share | None


@dataclass(frozen=True)
class ControlFacts:
    """What is known of a control (`core.defense.known_truth.Control`).

    Attributes:
        kind: masked, oracle or random.
        hides: in words, what is hidden from the attacker.
        reference: spec of the defense on which the upper bound is measured, "" for none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["masked", "oracle", "random"]
    hides: Text
    reference: Text


@dataclass(frozen=True)
class Answer:
    """The result of an attack, where it consists of more than the images.

    Attributes:
        images: adversarial images x' [N,C,H,W].
        nearest: True if the images are the nearest adversarial images found (a minimum-norm attack). They may lie
            beyond the threat's radius; where none was found, x' is the image itself.
        claims: the attack's own verdict, bool [N], True where it claims that the defense is misclassified at x', at any
            distance; None if the attack gives none.
        certified: for a certificate, the radius in the threat's norm within which the answer is proven right, one value
            per image, None where the answer is wrong or nothing was proven; None for an attack.
        passes: images passed in addition to those that the view counted.
        known_right: for an attack with known randomness, under how many of `known_seeds` seeds the frozen defense was
            right at the point found for it, one value per image; None for other attacks.
        known_seeds: the number of these seeds, 0 for other attacks.
        looks: what the attack saw at each image, where it was counted; None where it was not.
        clean_looks: the same of equally many looks at the clean image.
        truth: of a control, the known truth of each image, None for images on which it is not scored; None for attacks.
        control: what is known of the control; None for attacks.
    """

    images: Tensor
    nearest: bool = False
    claims: Tensor | None = None
    certified: Sequence[float | None] | None = None
    passes: int = 0
    known_right: Sequence[int] | None = None
    known_seeds: int = 0
    looks: Sequence[LookCount] | None = None
    clean_looks: Sequence[LookCount] | None = None
    truth: Sequence[ImageTruth | None] | None = None
    control: ControlFacts | None = None


class DefenseFault(Exception):
    """The defense returned an invalid answer: another shape, or values that are not finite."""


class NotLogits(DefenseFault):
    """The answer is not a tensor [N,K] of floating-point numbers, whatever the images."""


class WholeFault(DefenseFault):
    """A fault of the defense itself that no single image causes.

    The defense keeps a state, or answers differently in different kinds of passes.
    """


def check_logits(answer: object, images: int) -> Tensor:
    """Return the logits of an answer, finite, of shape [images,K], at least in single precision.

    Args:
        answer: the logits, or an object that contains them: in an attribute or under a key `logits`, as in the outputs
            of Hugging Face models, else as the only two-dimensional floating-point tensor of a tuple, list or mapping.
        images: the number of images that the defense was given.

    Raises:
        NotLogits: the answer has no such tensor; the message says how to fix it.
        DefenseFault: the logits contain NaN or infinity.
    """
    import math

    import torch

    logits = answer if isinstance(answer, torch.Tensor) else _held(answer, images)
    if logits.ndim != 2 or len(logits) != images or logits.shape[1] < 2:
        raise NotLogits(f"expected logits of shape [{images},K] with K ≥ 2 classes, but got {list(logits.shape)}")
    if not logits.is_floating_point():
        raise NotLogits(f"expected floating-point logits, but got {logits.dtype}")
    if logits.dtype.itemsize < torch.float32.itemsize:
        logits = logits.float()
    # the sum is finite only if every value is finite, and it is faster to check
    if not math.isfinite(float(logits.detach().sum())) and not bool(torch.isfinite(logits).all()):
        raise DefenseFault("expected finite logits, but got NaN or infinity")
    return logits


def _held(answer: object, images: int) -> Tensor:
    """Return the logits inside a container; raise NotLogits if it is not clear which tensor they are."""
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
    cure = "return the logits alone"
    if isinstance(answer, Mapping):
        cure = f"wrap it: lambda x: model(x)[{next(iter(answer), 'logits')!r}]"
    elif isinstance(answer, list | tuple):
        cure = "wrap it: lambda x: model(x)[0]"
    raise NotLogits(f"expected logits as a tensor [{images},K], but got {type(answer).__name__}; {cure}")


SUM_TO_ONE = 1e-4
"""Largest accepted distance of a sum of probabilities from 1."""


def are_probabilities(logits: Tensor) -> bool:
    """Return whether all answers [N,K] are probabilities: no value is below 0, and each image's values sum to 1."""
    return bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() <= SUM_TO_ONE).all())
