"""Describes an attack in its own file for `purebench list attacks`, which reads the description without importing it.

    @listed("projected gradient descent", norms="linf l2", sees="white-box", bounded=True)
    class PGD: ...

The arguments are literals, so that they can be read from the source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.norms.norm_facts import NORM_NAMES
from purebench.core.registry import installed
from purebench.core.source.decorator_arguments import listed_arguments
from purebench.core.threat import Knowledge

WHITE, SCORE, DECISION, NONE = Knowledge.WHITE_BOX, Knowledge.SCORE, Knowledge.DECISION, Knowledge.NONE
ANY = "any"
"""Norms of an attack with its own distance measure: its result counts as the nearest image found, in the board's
norm."""
ALL = " ".join(NORM_NAMES)
Made = TypeVar("Made", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class AttackEntry:
    """An attack in the catalogue.

    Attributes:
        name: Name without the library's prefix.
        norms: Norms of the threat models that it supports.
        own: True if its own constraint or objective is in none of these norms.
        knowledge: What it uses of the defense.
        bounded: True if it keeps to the radius; False if it looks for the nearest adversarial example.
        note: A short description.
        aliases: The library's other names for it.
        needs: A package that must be installed for it.
        left_out: Reason why it cannot be run; empty if it can.
    """

    name: str
    norms: tuple[str, ...] = ()
    own: bool = False
    knowledge: Knowledge = NONE
    bounded: bool = False
    note: str = ""
    aliases: tuple[str, ...] = ()
    needs: str = ""
    left_out: str = ""

    @property
    def gradients(self) -> bool:
        """True if the attack needs gradients."""
        return self.knowledge is WHITE


def listed(note: str, *, norms: str = ALL, sees: str, bounded: bool) -> Callable[[Made], Made]:
    """Describe an attack, as a decorator of the class or function that its entry point names.

    All arguments must be literals, because they are read from the source. The decorator changes nothing.

    Args:
        note: A short description, below 80 characters.
        norms: Norms of the threat models that it supports, separated by spaces; all by default.
        sees: What it uses of the defense: white-box, score, decision or none.
        bounded: True if it keeps to the radius; False if it looks for the nearest adversarial example.

    Raises:
        PurebenchError: If a norm or `sees` is unknown.
    """
    described("", note, norms=norms, sees=sees, bounded=bounded)
    return lambda attack: attack


def described(name: str, note: str, *, norms: str = ALL, sees: str, bounded: bool) -> AttackEntry:
    """Return the entry of an attack by name; the other arguments are those of `listed`.

    Raises:
        PurebenchError: If a norm or `sees` is unknown.
    """
    for norm in norms.split():
        if norm not in NORM_NAMES:
            raise PurebenchError(f"listed: the norm {norm!r} is unknown; {did_you_mean(norm, NORM_NAMES)}")
    known = [one.value for one in Knowledge]
    if sees not in known:
        raise PurebenchError(f"listed: sees={sees!r} is unknown; {did_you_mean(sees, known)}")
    return AttackEntry(name=name, norms=tuple(norms.split()), knowledge=Knowledge(sees), bounded=bounded, note=note)


def entry_of(point: EntryPoint) -> AttackEntry | None:
    """Return what an attack's file says of it, read from the source without import; None if it says nothing valid."""
    try:
        given = listed_arguments(point)
        return None if given is None else described(point.name, *given[0], **given[1])
    except (AttributeError, PurebenchError, TypeError, ValueError):
        return None


def native() -> dict[str, AttackEntry]:
    """Return the entries of purebench's own attacks by name; the libraries' have tables of their own."""
    own = {name: point for name, point in installed("attacks").items() if point.value.startswith("purebench.attacks.")}
    return {name: entry for name, point in own.items() if (entry := entry_of(point)) is not None}
