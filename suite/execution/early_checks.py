"""Checks the attacks and the defenses of a board before its first job, so that invalid ones cost no computation."""

from __future__ import annotations

import inspect
from typing import Protocol, runtime_checkable

import torch

from purebench.boards.board import Board
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.core.threat import Knowledge, ThreatModel
from purebench.execution.context import Context
from purebench.execution.contract.checks import check_contract
from purebench.execution.contract.eager import eagerly


def check_defenses(context: Context) -> list[str]:
    """Call every defense, to find invalid defenses before anything is run.

    It is separate from `prepare`, because a finished board does not need it. Defenses that were accepted on another
    subset of the images (see `Context.on`) are not called again.

    Returns:
        Sentences about defenses that declare random=True and look deterministic.

    Raises:
        PurebenchError: a defense breaks the contract (see `check_contract`).
    """
    found: list[str] = []
    images = torch.as_tensor(context.images.take([0, len(context.images) - 1]).floats()).to(context.device)
    for name in context.defenses:
        if name in context.checked:
            continue
        try:
            with eagerly():
                warning = check_contract(context.uncalled(name), images)
        except PurebenchError as error:
            raise PurebenchError(f"defenses.{name}: {error}") from error
        found += [f"defenses.{name}: {warning}."] if warning else []
        context.checked.add(name)
    return found


@runtime_checkable
class Particular(Protocol):
    """An attack that knows, before it runs, which threat models it does not support."""

    def check(self, threat: ThreatModel) -> None:
        """Check that the attack can run under the threat model.

        Raises:
            PurebenchError: it cannot run under the threat model, or cannot be made.
        """


def check_attacks(board: Board) -> None:
    """Create every attack once, to find invalid attacks before anything is run.

    It is separate from `prepare`, because attack libraries take seconds to import and a finished board does not need
    them.

    Raises:
        PurebenchError: an attack cannot be created or run.
    """
    for attack in board.attacks:
        file = f"{board.origin}: " if board.origin.endswith((".yaml", ".yml")) else ""
        where = f"{file}attacks.{attack.name}"
        try:
            takes = inspect.signature(registry.factory("attacks", attack.use.name)[0]).parameters
            made = registry.create("attacks", attack.use, found=None)  # no images of a source yet
            if isinstance(made, Particular):
                made.check(board.threat)
        except PurebenchError as error:
            raise PurebenchError(f"{where}: {error}") from error
        if attack.source is not None and "found" not in takes:
            raise PurebenchError(
                f"{where}.source: expected an attack that reuses images, such as transfer, but {attack.use.name} "
                "does not; remove the source."
            )
        if attack.source is None and "found" in takes and takes["found"].default is inspect.Parameter.empty:
            raise PurebenchError(
                f"{where}: expected a source, because {attack.use.name} reuses images, but got none; add source: "
                "{defense: …, attack: …}."
            )
        knowledge = getattr(made, "knowledge", None)  # a local attack may be a plain function
        uses_view = not getattr(made, "own_views", False)
        if uses_view and knowledge is Knowledge.WHITE_BOX and Spec.parse(attack.gradient).name == "none":
            raise PurebenchError(
                f"{where}.gradient: expected a gradient mode other than none, because {attack.use.name} needs "
                "gradients; choose exact, or bpda if the purifier has no gradient."
            )
