"""Defines defenses: a classifier behind a purifier, which is what is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from torch import Tensor, nn

from purebench.core.arguments import known_parameters
from purebench.core.defense.purifier import Purifier
from purebench.core.defense.randomness import STAYS_RANDOM
from purebench.core.errors import shown


class Defense(nn.Module):
    """classifier ∘ purifier: images [N,C,H,W] in [0,1] → logits [N,K]; one call is one draw.

    Attributes:
        classifier: a module or callable from images in [0,1] to logits.
        purifier: None for the classifier alone.
        classifier_random: whether the classifier itself is random; the argument `random` of the constructor.
        passes: the number of images that pass through the classifier for one answer.
        shares_draws: whether all images of a call get the same random choice (a model of an ensemble, a crop), so that
            each draw needs a call of its own; None until it has been determined (see `draw_independence`).
    """

    passes: int = 1
    shares_draws: bool | None = None

    @known_parameters
    def __init__(
        self,
        classifier: nn.Module | Callable[[Tensor], Tensor],
        purifier: Purifier | None = None,
        *,
        random: bool = False,
    ):
        super().__init__()
        self.classifier, self.purifier = classifier, purifier
        self.classifier_random = random

    @property
    def random(self) -> bool:
        """True if repeated answers to the same image may differ."""
        return self.classifier_random or (self.purifier is not None and self.purifier.random)

    def purify(self, x: Tensor) -> Tensor:
        """Return the input of the classifier.

        Args:
            x: images [N,C,H,W] in [0,1].

        Returns:
            Images [N,C,H,W]. A defense that votes returns the images of all votes, [N,votes,C,H,W].
        """
        return x if self.purifier is None else self.purifier(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N,K] of one draw."""
        return self.classifier(self.purify(x))

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts; layers marked by `keep_random_layers_on` stay random in either mode."""
        super().train(mode)
        for part in self.modules():
            if vars(part).get(STAYS_RANDOM):
                part.training = True
        return self


def as_defense(
    thing: Defense | Purifier | nn.Module | Callable[[Tensor], Tensor],
    classifier: nn.Module | None = None,
    *,
    random: bool = False,
) -> Defense:
    """Wrap anything that can be evaluated as a `Defense`, in eval mode and without parameter gradients.

    Args:
        thing: a `Defense`, which is returned itself, a `Purifier`, which is placed before `classifier`, or another
            module or callable, which returns logits.
        classifier: the classifier behind a purifier.
        random: whether a plain module or callable is random.

    Returns:
        The defense.

    Raises:
        TypeError: a purifier is given without a classifier or does not declare `random`, or the object is not callable.
    """
    if isinstance(thing, Defense):
        defense = thing
    elif isinstance(thing, Purifier):
        _check_declared(thing)
        if classifier is None:
            raise TypeError("expected a classifier behind the purifier, but got None; pass one.")
        defense = Defense(classifier, thing)
    elif callable(thing):
        defense = Defense(thing, random=random)
    else:
        raise TypeError(f"expected a Defense, a Purifier, a module or a callable, but got {shown(thing)}.")
    return defense.eval().requires_grad_(False)


def _check_declared(purifier: Purifier) -> None:
    """Raise TypeError if a purifier does not declare whether it is random."""
    name, declared = type(purifier).__name__, getattr(purifier, "random", None)
    if isinstance(declared, bool):
        return
    given = "it is missing" if declared is None else f"it is {shown(declared)}"
    raise TypeError(
        f"expected the declaration `random` in the class {name}, but {given}; add the line `random = True` to the "
        "class if two passes over one image may differ, or else `random = False`."
    )
