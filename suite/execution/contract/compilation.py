"""Determines which networks of a board's defenses are called compiled; a key names them, so it states what was run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from purebench.boards.board import Board
from purebench.core.compute.batching import fitting
from purebench.core.compute.cast_weights import CastWeights, in_bf16
from purebench.core.compute.compiled import Compiled, Probed, probe
from purebench.core.compute.devices import single_thread, tf32
from purebench.core.defense import Defense, Purifier
from purebench.core.seeds import seeded
from purebench.execution.contract.eager import eagerly

if TYPE_CHECKING:
    from purebench.execution.context import Context

IMAGES = 3
"""Images that a defense is probed with."""


def compiled_networks(context: Context, name: str) -> Probed:
    """Return the compiled networks of a row, which are determined at the first request.

    Args:
        context: The prepared board.
        name: The row.
    """
    board = context.board
    place = name, board.attack_precision, board.channels_last
    if place not in context.probes:
        context.probes[place] = probe_defense(
            board, context, lambda: context.uncalled(name), context.device_batch(name)
        )
    return context.probes[place]


def compiled_names(context: Context) -> dict[str, tuple[str, ...]]:
    """Return the names of the compiled networks of each row; nothing unless the board asks for compilation."""
    if not context.board.compile:
        return {}
    return {name: compiled_networks(context, name).networks.names for name in context.defenses}


def probe_defense(board: Board, context: Context, make: Callable[[], Defense], largest: int | None = None) -> Probed:
    """Compile the networks of a defense as far as possible; see `probe`.

    Args:
        board: The board, whose precision and layout the passes have.
        context: A context with its images and its device.
        make: Returns a copy of the defense that was never called.
        largest: The device batch of the defense; None to determine it.
    """
    device = context.device
    places = [place % len(context.images) for place in range(IMAGES)]
    images = torch.as_tensor(context.images.take(places).floats()).to(device)

    def inside(defense: nn.Module) -> AbstractContextManager[Any]:
        return in_bf16(device, CastWeights(defense)) if board.attack_precision == "bf16" else nullcontext()

    with single_thread(device), eagerly(), seeded("compiled", device=device), tf32(board.attack_precision == "tf32"):
        size = fitting(make(), images[:1]) if largest is None else largest
        return probe(lambda: with_layout(make(), board), images, size, (Defense, Purifier), inside)


def with_layout(defense: Defense, board: Board) -> Defense:
    """Return a defense with four-dimensional weights in the layout of the board's attacks, converted in place."""
    for weight in defense.parameters() if board.channels_last else ():
        if weight.ndim == 4:
            weight.data = weight.data.clone(memory_format=torch.channels_last)
    return defense


def compiled_for(context: Context, name: str, defense: Defense) -> Compiled | None:
    """Return the context in which a copy of a row's defense is called compiled; None unless the board asks for it."""
    return Compiled(defense, compiled_networks(context, name).networks) if context.board.compile else None


def uncompiled(context: Context) -> str | None:
    """Return one warning for all networks that run uncompiled although the board asks for compilation, or None."""
    reasons: dict[str, list[str]] = {}
    for row in context.defenses if context.board.compile else ():
        found: dict[str, list[str]] = {}
        for network, reason in compiled_networks(context, row).refused.items():
            found.setdefault(reason, []).append(network)
        for reason, networks in found.items():
            reasons.setdefault(reason, []).append(f"{row} ({', '.join(networks)})")
    if not reasons:
        return None
    told = "; ".join(f"{', '.join(rows)}: {reason}" for reason, rows in reasons.items())
    return f"compile: networks that cannot be compiled run uncompiled, as the keys of their results state: {told}"
