"""Views that attack another model in place of the defense, for adversarial examples that transfer to it.

`stand-in` attacks a registered model (Szegedy et al. 2014, arXiv:1312.6199; Papernot et al. 2017, arXiv:1602.02697).
`inner` attacks a part of the defense that maps images to logits: a defense that wraps a classifier, and whose own
gradient misleads, often contains one whose gradient does not (`inner_modules` finds such parts).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from purebench.attacks.views.gradient_modes import exact
from purebench.attacks.views.view import View
from purebench.core import registry
from purebench.core.defense import Defense, as_defense
from purebench.core.errors import Inapplicable
from purebench.core.parameters import checked
from purebench.core.registry import Spec


def _in_place(defense: Defense, model: Defense, eot: int, told: str) -> View:
    """Return the exact view of a model, through which a misclassification is not one of the defense."""
    tensors = [*defense.parameters(), *defense.buffers()]
    model = model.to(tensors[0].device) if tensors else model
    model.shares_draws = True  # whether its draws in one call are independent is not known
    view = exact(model, eot=eot)
    view.decides = False
    view.note(told)
    return view


@checked("stand-in")
def stand_in(
    defense: Defense,
    *,
    eot: int = 1,
    model: str | Mapping[str, Any] = "none",
    classifier: str | Mapping[str, Any] | None = None,
) -> View:
    """Attack a registered defense in place of this one.

    A misclassification by it is not one of the defense. Attacks therefore take all their steps.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
        model: A registered defense as it is written on a board, such as trades; none for the classifier alone.
        classifier: A registered classifier behind the model's purifier; None for that of the attacked defense.

    Raises:
        Inapplicable: If no gradient comes through the model.
        PurebenchError: If it cannot be made.
    """
    behind: Any = defense.classifier if classifier is None else registry.create("classifiers", Spec.parse(classifier))
    made = as_defense(registry.create("defenses", Spec.parse(model), classifier=behind), behind)
    return _in_place(defense, made, eot, f"attacks another model in place of the defense: {Spec.parse(model)}")


@checked("inner")
def inner(defense: Defense, *, eot: int = 1, module: str) -> View:
    """Attack a part of the defense that maps images to logits, in place of the defense.

    A misclassification by it is not one of the defense. Attacks therefore take all their steps.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
        module: Path of the part, such as classifier.model (see `inner_modules`).

    Raises:
        Inapplicable: If the defense has no such part.
    """
    try:
        part = defense.get_submodule(module)
    except AttributeError as error:
        raise Inapplicable(f"the defense has no part {module!r}") from error
    model = Defense(part, random=defense.random).eval()
    return _in_place(defense, model, eot, f"attacks a part of the defense in its place: {module}")


@torch.no_grad()
def inner_modules(defense: Defense, x: Tensor) -> list[str]:
    """Return the paths of the parts of a defense that map images to logits, the outermost first.

    A pass over the images is observed: a part counts if its only argument has the shape of the images, and its output
    the shape of the defense's logits.

    Args:
        defense: The defense, which is called once.
        x: Images [N,C,H,W] in [0,1].
    """
    calls: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []

    def seen(name: str, part: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
        if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(answer, Tensor):
            calls.append((name, tuple(given[0].shape), tuple(answer.shape)))

    hooks = [part.register_forward_hook(partial(seen, name)) for name, part in defense.named_modules() if name]
    try:
        shape = tuple(defense(x.clone()).shape)
    finally:
        for hook in hooks:
            hook.remove()
    found = dict.fromkeys(name for name, given, answer in calls if given == tuple(x.shape) and answer == shape)
    return sorted(found, key=lambda name: (name.count("."), name))
