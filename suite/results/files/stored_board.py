"""Reads a board and its records from a store, and the clean images of its data set."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.bundled import bundled
from purebench.boards.parse import parse_board
from purebench.boards.replay import command, run_command
from purebench.boards.trust import built_in
from purebench.core.compute.memory import collector_paused
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.files.places import default_store
from purebench.core.registry import Spec, factory
from purebench.core.terminal_output import complain
from purebench.data.adapt import load_images
from purebench.data.datasets import Array, ImageSet
from purebench.data.pictures import png, to_bytes
from purebench.records import store
from purebench.records.record import Record
from purebench.results.results import DefenseResult


def at_hand(board: Board) -> ImageSet | None:
    """Load the data set of a board from a third party; None unless it is built in and on this machine."""
    use = board.dataset.use
    if not built_in("datasets", use):
        return None
    takes = signature(factory("datasets", use.name)[0]).parameters
    offline = {"download": False} if "download" in takes else {}
    try:
        data = load_images(Spec(use.name, {**use.params, **offline}))
    except PurebenchError as error:
        complain(f"the page shows no original images: {error}")
        return None
    return data


def from_store(path: Path, name: str) -> tuple[Board, list[Record]]:
    """Return a board as it was last run into a store, and its records so far.

    Args:
        path: the store.
        name: the name of the board.

    Raises:
        PurebenchError: the board is not in the store, or its plan is damaged.
    """
    with store.reading(path) as saved:
        plans = saved.plans()
        if name not in plans:
            raise PurebenchError(f"{path}: {_missing(path, name, plans)}")
        definition, keys = plans[name]
        try:
            board = replace(parse_board(definition), origin=saved.origin(name))
        except PurebenchError as error:
            raise PurebenchError(f"{path}: the plan of {name!r} is damaged: {error}") from error
        with collector_paused():
            return board, list(saved.get_many(keys))


def _missing(path: Path, name: str, plans: Collection[str]) -> str:
    own, _, radius = name.partition("@")
    if own not in bundled():
        return f"the board {name!r} is not in this store; {did_you_mean(name, plans)}"
    at = radius.replace("-", "/") if radius else None
    run = command("run", own, radius=at, store=None if path == default_store() else path)
    known = ", ".join(plans) or "none"
    return f"the board {name!r} has not been run with this store; run it: {run} (boards in this store: {known})"


def originals(data: ImageSet, order: Sequence[int] | Array, found: Sequence[DefenseResult]) -> dict[int, str]:
    """Return the clean images that the page shows, as PNG files in base64, by their position in the data set.

    Args:
        data: clean images.
        order: their positions in the data set.
        found: the results whose pictures are shown.
    """
    shown = {picture.image for result in found for attack in result.attacks for picture in attack.pictures}
    rows = {int(index): row for row, index in enumerate(order) if int(index) in shown}
    return {index: png(to_bytes(data.take([row]).floats()[0])) for index, row in rows.items()}


def unlisted(path: Path, name: str) -> list[str]:
    """Describe the rows of earlier runs of a board that its last run hides, and the command that shows them.

    Args:
        path: the store.
        name: the name of the board.

    Returns:
        A sentence for each earlier run with such rows, the latest first.
    """
    with store.reading(path) as saved:
        plans = saved.plans()
        if name not in plans:
            return []
        try:
            board = parse_board(plans[name][0])
            others = [replace(parse_board(plain), origin=origin) for plain, origin in saved.unlisted(name)]
        except PurebenchError:  # of another version
            return []
    return [_unlisted(board, other, None if path == default_store() else path) for other in others]


def _unlisted(board: Board, other: Board, path: Path | None) -> str:
    rows, images = other.shown, other.dataset.images
    told = f"{len(rows)} {'row' if len(rows) == 1 else 'rows'} not listed: " + ", ".join(row.name for row in rows)
    settings = replace(other, defenses=board.defenses, title=board.title, about=board.about)
    if settings == board:
        told += " (unfinished, or changed since the run)"
    elif images != board.dataset.images:
        told += f", evaluated on {images} images instead of {board.dataset.images}"
    else:
        told += ", evaluated with other settings"
    run = run_command(other, [row.use for row in rows], store=path)
    return f"{told}; this command lists {'it' if len(rows) == 1 else 'them'}: {run}"
