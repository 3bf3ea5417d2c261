"""Defines the mechanism of each view and attack: how it finds adversarial examples.

The grade, the warnings of gradient masking and the convergence of attacks read it from here. The mechanism of an attack
that needs gradients is that of its view. An attack that needs scores or decisions only is gradient-free, and one that
uses nothing of the defense (random noise, the known truth of a control) has none. What an attack needs is read from its
`listed(sees=…)` or from the library's catalogue. A view of another package declares its mechanism above its factory:

    @listed(mechanism="gradient")
    def mine(defense, *, eot=1): ...

A view without a declaration has no mechanism, so that a grade never becomes better by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from purebench.attacks.catalogue import LIBRARIES, find
from purebench.attacks.entry import entry_of
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.registry import Spec, installed
from purebench.core.source.decorator_arguments import listed_arguments
from purebench.core.threat import Knowledge

Made = TypeVar("Made", bound=Callable[..., Any])


class Mechanism(StrEnum):
    """The way in which an attack finds adversarial examples.

    Attributes:
        GRADIENT: by the gradient of the whole defense, exact or by BPDA.
        SUBSTITUTE: by the gradient, or the scores, of another model than the defense.
        GRADIENT_FREE: by scores or decisions of the defense.
        TRANSFER: by the adversarial images of another row.
    """

    GRADIENT = "gradient"
    SUBSTITUTE = "substitute gradient"
    GRADIENT_FREE = "gradient-free"
    TRANSFER = "transfer"


VIEWS: Mapping[str, Mechanism] = {
    "exact": Mechanism.GRADIENT,
    "exact-or-bpda": Mechanism.GRADIENT,
    "bpda": Mechanism.GRADIENT,
    "bpda-learned": Mechanism.GRADIENT,
    "intermediate": Mechanism.GRADIENT,
    "smoothed": Mechanism.GRADIENT,
    "blind": Mechanism.SUBSTITUTE,
    "surrogate": Mechanism.SUBSTITUTE,
    "noised": Mechanism.SUBSTITUTE,
    "stand-in": Mechanism.SUBSTITUTE,
    "inner": Mechanism.SUBSTITUTE,
    "estimated": Mechanism.GRADIENT_FREE,
    "none": Mechanism.GRADIENT_FREE,
}
"""The mechanism of each view of purebench; a test compares the names with the registered ones."""
SEQUENCE, USUAL = "sequence", ({"use": "apgd", "gradient": "exact"}, {"use": "apgd", "gradient": "bpda"})
"""The attack with parts, and the mechanisms of its parts by default (a test compares them with those of the class)."""
COMPOSITE = ("autoattack:standard", "autoattack:plus", "art:AutoAttack")
"""Attacks of libraries that follow gradients and then, on the images that are left, run Square."""
DIFFHAMMER, DIFFHAMMER_DRAWS = "diffhammer", 10
"""The attack whose draws take the place of the view's EOT samples, and their usual number."""
AUTOATTACK, AUTOATTACK_DRAWS = "autoattack", 20
"""The library whose gradients on random defenses average passes, each with the view's EOT samples, and their usual
number."""


def listed(*, mechanism: str) -> Callable[[Made], Made]:
    """Declare the mechanism of a view of another package, as a decorator of the factory that its entry point names.

    The argument is a literal, because it is read from the source. The decorator changes nothing.

    Args:
        mechanism: One of the values of `Mechanism`.

    Raises:
        PurebenchError: If the mechanism is unknown.
    """
    known = [one.value for one in Mechanism]
    if mechanism not in known:
        raise PurebenchError(f"listed: mechanism={mechanism!r} is unknown; {did_you_mean(mechanism, known)}")
    return lambda view: view


@dataclass(frozen=True)
class Part:
    """An attack under a view, or one part of a sequence.

    Attributes:
        use: The attack.
        gradient: The view.
        eot: EOT samples of the view.
    """

    use: Spec
    gradient: Spec
    eot: int

    @property
    def draws(self) -> int:
        """The draws of a random defense that a gradient averages; a test compares the usual numbers with attacks."""
        library = self.use.name.partition(":")[0]
        if library == AUTOATTACK:
            return self.eot * _count(self.use.params.get("eot"), AUTOATTACK_DRAWS)
        if library == DIFFHAMMER:
            return _count(self.use.params.get("draws"), DIFFHAMMER_DRAWS)
        return self.eot


def parts_of(part: Part) -> Sequence[Part]:
    """Return the parts of a sequence or of AutoAttack, or an attack of another kind; nothing if the parts are invalid.

    Args:
        part: The attack as it stands on a board.
    """
    if part.use.name in COMPOSITE:
        return [part, Part(Spec("square"), part.gradient, part.eot)]
    if part.use.name != SEQUENCE:
        return [part]
    try:
        plain = [one if isinstance(one, Mapping) else {"use": one} for one in part.use.params.get("parts", USUAL)]
        found = [
            Part(Spec.parse(one["use"]), Spec.parse(one.get("gradient", "none")), int(one.get("eot", 1)))
            for one in plain
        ]
        return [one for each in found for one in (parts_of(each) if each.use.name in COMPOSITE else [each])]
    except (KeyError, PurebenchError, TypeError, ValueError):  # results of others may contain anything
        return []


def mechanism(part: Part, backwards: int) -> Mechanism | None:
    """Return the mechanism of an attack that is no sequence and reuses no images of another row; None if it has none.

    An attack that declares nothing counts by its view if it computed gradients, and has no mechanism otherwise, because
    it may not search at all.

    Args:
        part: The attack and its view.
        backwards: Images that it passed backward.
    """
    if part.use.name == SEQUENCE:  # one inside of another
        return None
    view, sees = _of_view(part.gradient.name), _knowledge(part.use.name)
    if sees is None:
        return view if backwards and view is not Mechanism.GRADIENT_FREE else None
    if sees is Knowledge.NONE or view is None:
        return None
    if sees is Knowledge.WHITE_BOX or view is Mechanism.SUBSTITUTE:
        return view
    return Mechanism.GRADIENT_FREE


def _count(value: object, usual: int) -> int:
    """Return a parameter; the usual number without it, and where results of others have anything else."""
    return value if isinstance(value, int) and value > 0 else usual


@cache
def _of_view(name: str) -> Mechanism | None:
    """Return the mechanism of a view; None if it declares none, or is not installed."""
    if name in VIEWS:
        return VIEWS[name]
    point = installed("views").get(name)
    try:
        given = None if point is None else listed_arguments(point)
        return None if given is None else Mechanism(given[1]["mechanism"])
    except (KeyError, ValueError):
        return None


@cache
def _knowledge(name: str) -> Knowledge | None:
    """Return what an attack uses of the defense; None if that is not declared, or the attack is not installed."""
    library, _, own = name.partition(":")
    if library in LIBRARIES:
        try:
            return find(library, own).knowledge
        except PurebenchError:
            return None
    point = installed("attacks").get(name)
    entry = None if point is None else entry_of(point)
    return None if entry is None else entry.knowledge
