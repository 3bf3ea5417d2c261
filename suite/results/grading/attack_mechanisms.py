"""Determines the mechanisms of an attack from a result, which knows the attacks whose images are reused."""

from __future__ import annotations

from purebench.attacks.mechanisms import Mechanism, Part, mechanism, parts_of
from purebench.core.registry import Spec
from purebench.results.attack_result import AttackResult
from purebench.results.results import CLEAN, DefenseResult


def mechanisms_of(result: DefenseResult, attack: AttackResult) -> tuple[Mechanism, ...]:
    """Return the mechanisms by which an attack finds adversarial images; () if it has none.

    The reuse of another row's images is a mechanism only if an attack searched for them: the reuse of clean images, or
    of those of random noise, has none.

    Args:
        result: the result of the defense.
        attack: one of its attacks.
    """
    if attack.source is not None and not _searched(result, str(attack.source.get("attack")), ()):
        return ()
    return attack.mechanisms


def _searched(result: DefenseResult, name: str, before: tuple[str, ...]) -> bool:
    """Return whether an attack of the board searches for adversarial images, itself or through those that it reuses."""
    choice = result.board["attacks"].get(name)
    if name == CLEAN or choice is None or name in before:
        return False
    if source := choice.get("source"):
        return _searched(result, str(source.get("attack")), (*before, name))
    backwards = sum(attack.backwards for attack in result.attacks if attack.name == name)
    whole = Part(Spec.parse(choice["use"]), Spec.parse(choice.get("gradient", "none")), int(choice.get("eot", 1)))
    return any(mechanism(part, backwards) is not None for part in parts_of(whole))
