"""Defines the attacks that a search tries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from purebench.attacks.mechanisms import VIEWS, Mechanism
from purebench.boards.board import AttackChoice
from purebench.core.registry import Spec
from purebench.core.seeds import hash_of

PASSES_OF_A_GRADIENT = 3.0
"""A forward pass and a backward pass, which costs about twice as much."""
SEQUENCE = "sequence"


@dataclass(frozen=True)
class Step:
    """One attack of a candidate.

    Attributes:
        attack: Name of the attack.
        params: Its parameters.
        gradient: The view, as it is written on a board.
        eot: EOT samples.
        found: Whether it starts from the best points of the steps before.
    """

    attack: str
    params: Mapping[str, Any]
    gradient: str = "none"
    eot: int = 1
    found: bool = False

    @property
    def substitute(self) -> bool:
        """True if its passes are those of another model or of a part of the defense."""
        return VIEWS.get(Spec.parse(self.gradient).name) is Mechanism.SUBSTITUTE

    def plain(self) -> dict[str, Any]:
        """Return the step as a part of a sequence."""
        start = {"start": "found"} if self.found else {}
        return {"use": str(Spec(self.attack, dict(self.params))), "gradient": self.gradient, "eot": self.eot, **start}

    def passes(self) -> float:
        """Return about how many purifier passes it costs for an image."""
        params = self.params
        looks = float(params.get("steps", params.get("queries", 100)))
        looks *= float(params.get("restarts", 1)) * max(1, int(params.get("targets", 0)))
        return looks * self._passes_of_a_look()

    def _passes_of_a_look(self) -> float:
        view = Spec.parse(self.gradient)
        if view.name == "estimated":
            return self.eot + 2.0 * int(view.params.get("samples", 20))
        if view.name == "smoothed":
            return self.eot * (1 + PASSES_OF_A_GRADIENT * int(view.params.get("samples", 8)))
        if view.name == "none":
            return self.eot * (20.0 if self.attack.startswith("art:") else 1.0)
        return self.eot * PASSES_OF_A_GRADIENT


@dataclass(frozen=True)
class AttackCandidate:
    """An attack that is tried.

    Attributes:
        steps: Its attacks in turn; a single one is run as it is, several as a `sequence`.
        why: A short description for readers.
        point: The point of the search space that it comes from; None for one of the portfolio and for compositions.
    """

    steps: tuple[Step, ...]
    why: str
    point: tuple[float, ...] | None = None

    @cached_property
    def name(self) -> str:
        """A name that the steps decide."""
        return f"try-{hash_of([step.plain() for step in self.steps])[:12]}"

    def choice(self, name: str, eot: int = 1) -> AttackChoice:
        """Return the attack of a board.

        Args:
            name: Its name on the board.
            eot: Draws at which a sequence compares points; more are used if it needs them.
        """
        (first, *others) = self.steps
        if not others and not first.found:
            return AttackChoice(name, Spec(first.attack, dict(first.params)), first.gradient, first.eot)
        return AttackChoice(name, Spec(SEQUENCE, {"parts": [step.plain() for step in self.steps]}), "none", eot)

    def plain(self, eot: int = 1) -> dict[str, Any]:
        """Return the attack in the form of a board.yaml."""
        choice = self.choice("attack", eot)
        return {"use": choice.use.plain(), "gradient": choice.gradient, "eot": choice.eot}

    def passes(self) -> float:
        """Return about how many purifier passes it costs for an image."""
        return sum(step.passes() for step in self.steps)

    @property
    def whole(self) -> bool:
        """True if all of its passes are of the defense itself, and not of another model or a part of it."""
        return not any(step.substitute for step in self.steps)

    def passes_of(self, *, substitute: bool) -> float:
        """Return about how many of its passes for an image are of the defense itself, or those that are not."""
        return sum(step.passes() for step in self.steps if step.substitute is substitute)

    @property
    def views(self) -> frozenset[str]:
        """The views of its steps by name, those of other models in full, and the attacks that use none."""
        return frozenset(_view_of(step) for step in self.steps)

    @property
    def words(self) -> str:
        """The attacks and their views in words."""
        return in_words([step.plain() for step in self.steps])

    def __str__(self) -> str:
        return "; then ".join(json.dumps(step.plain()) for step in self.steps)


def _view_of(step: Step) -> str:
    view = Spec.parse(step.gradient)
    if view.name == "none":
        return step.attack
    return str(view) if view.name in ("inner", "stand-in") else view.name


def in_words(steps: Sequence[Mapping[str, Any]]) -> str:
    """Return attacks in words, such as "apgd(steps=20) through bpda; then square through none".

    Args:
        steps: The attacks, as `Step.plain` returns them.
    """
    return "; then ".join(f"{step['use']} through {step['gradient']}" for step in steps)


def sequence_eot(random: bool) -> int:
    """Return the draws at which a sequence compares the points of its parts on a random or a deterministic defense."""
    return 4 if random else 1


def joined(parts: Sequence[AttackCandidate], why: str) -> AttackCandidate:
    """Return the candidate that runs the steps of several in turn, without repeating a step."""
    steps = {json.dumps(step.plain()): step for part in parts for step in part.steps}
    return AttackCandidate(tuple(steps.values()), why)
