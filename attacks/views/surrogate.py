"""Views that attack something cheaper than the defense itself, forward and backward.

`surrogate` attacks a purifier of fewer steps: Lee & Kim 2023 (arXiv:2303.09051) attack diffusion purifiers through the
same noise levels with fewer denoising steps. `noised` attacks the noise alone, without denoising (the mode
`forward_diff_only` of DiffBreak, Kassis et al. 2025, arXiv:2411.16598).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from purebench.attacks.views.view import View
from purebench.core import registry
from purebench.core.defense import Defense, Purifier
from purebench.core.errors import Inapplicable, PurebenchError
from purebench.core.parameters import Count, checked
from purebench.core.registry import Spec


@checked("surrogate")
def surrogate(
    defense: Defense,
    *,
    eot: int = 1,
    steps: Count | None = None,
    rounds: Count | None = None,
    purifier: str | Mapping[str, Any] | None = None,
) -> View:
    """Use a cheaper purifier in the forward and the backward pass, before the defense's own classifier.

    A misclassification through it is not one of the defense. Attacks therefore take all their steps and return the
    last point of a run.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.
        steps: Largest number of steps of a round; None for about half of the purifier's own.
        rounds: Largest number of rounds, for a purifier that repeats its procedure; None for the purifier's default.
        purifier: A registered purifier as it is written on a board, which is attacked instead.

    Raises:
        Inapplicable: If the defense has no purifier, or one without a shorter version.
        PurebenchError: If `purifier` is given with steps or rounds, names a file, or is not a differentiable purifier.
    """
    own = required(defense)
    if purifier is None:
        chosen = own.shortened(steps, rounds)
        words = [f"at most {n} {what}" for n, what in ((steps, "steps a round"), (rounds, "rounds")) if n is not None]
        told = f"the defense's own purifier, shortened to {' and '.join(words) or 'about half of its steps'}"
    else:
        if steps is not None or rounds is not None:
            raise PurebenchError("surrogate: expected steps and rounds or a purifier, but got both; leave one out.")
        chosen, told = _created(purifier, defense), str(Spec.parse(purifier))
    if purifier is not None:  # whether its draws in one call are independent is not known
        defense = copy(defense)
        defense.shares_draws = True
    view = View(defense, chosen, chosen.random or defense.classifier_random, False, eot)
    view.note(f"attacks a surrogate of the purifier: {told}")
    return view


def _created(purifier: str | Mapping[str, Any], defense: Defense) -> Purifier:
    """Return a registered purifier on the device of the defense, in eval mode and without parameter gradients."""
    spec = Spec.parse(purifier)
    for name, value in spec.params.items():
        if isinstance(value, str) and (Path(value).exists() or Path(value).suffix):
            raise PurebenchError(
                f"surrogate: expected a purifier with bundled weights, but {spec.name} has {name}={value!r}; a "
                "changed file would not change the key of a job, use steps, or register the purifier with its weights."
            )
    made = registry.create("defenses", spec, classifier=defense.classifier)
    if not isinstance(made, Purifier) or not made.differentiable:
        raise PurebenchError(f"surrogate: expected purifier to be a differentiable purifier, but {spec.name} is not.")
    tensors = [*defense.parameters(), *defense.buffers()]
    made = made.to(tensors[0].device) if tensors else made
    return made.eval().requires_grad_(False)


def noised(defense: Defense, *, eot: int = 1) -> View:
    """Use the noise of the purifier without its denoising, before the defense's own classifier.

    A misclassification through it is not one of the defense. A purifier that does not begin with noise raises
    Inapplicable when the view is used.

    Args:
        defense: The defense to attack.
        eot: EOT samples per gradient.

    Raises:
        Inapplicable: If the defense has no purifier.
    """
    return View(defense, required(defense).noised, defense.random, False, eot)


def required(defense: Defense) -> Purifier:
    """Return the purifier of a defense.

    Raises:
        Inapplicable: If it has none.
    """
    if defense.purifier is None:
        raise Inapplicable("the defense has no purifier")
    return defense.purifier
