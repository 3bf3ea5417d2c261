"""Selects the board that a command line asks for: bundled or from a file, whole or in part, with other defenses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from purebench.boards.board import PRECISIONS, Board, DefenseChoice, Stop
from purebench.boards.bundled import bundled, find_board
from purebench.boards.parse import load_board
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.files.names import LONGEST, check_file_names
from purebench.core.registry import Spec
from purebench.core.threat import parse_radius
from purebench.data.dev_images import refuse_reached


def the_one(*given: str | None) -> str:
    """Return the board's name, which may be given in several ways.

    Raises:
        PurebenchError: If there is no name, or two different ones.
    """
    boards = {name for name in given if name is not None}
    if len(boards) > 1:
        raise PurebenchError(f"board: expected one board, but got {' and '.join(sorted(boards))}; remove one.")
    if not boards:
        raise PurebenchError(
            f"board: expected the name of a board, but got none; {did_you_mean('', bundled())} Or pass the path of a "
            "board.yaml."
        )
    return boards.pop()


def stored_name(text: str) -> str:
    """Return the name under which a store keeps a board.

    Args:
        text: A name, or the path of a board.yaml.

    Raises:
        PurebenchError: If the file is not a valid board.
    """
    return load_board(Path(text)).name if Path(text).suffix in (".yaml", ".yml") else text


def lengthened(board: Board) -> str:
    """Return a sentence if a board uses more images than its file says, which `choose` permits; else nothing.

    Args:
        board: A board from `choose`.

    Raises:
        PurebenchError: If further images are dev images, on which attacks or settings may have been searched for.
    """
    own = load_board(find_board(board.origin)).dataset.images
    if board.dataset.images <= own:
        return ""
    refuse_reached(board.dataset.use, own, board.dataset.images, board.dataset.seed)
    return (
        f"--images {board.dataset.images} lengthens {board.name}, which has {own} images: the results are "
        f"those of the first {board.dataset.images} images of the data set in the board's order, and are not "
        f"comparable with results on {own} images"
    )


def choose(
    name: str,
    defenses: Sequence[str] | None,
    images: int | None,
    *,
    radius: str | None = None,
    cascade: bool = False,
    precision: str | None = None,
    channels_last: bool = False,
    compiled: bool = False,
    until: Sequence[str] | None = None,
    max_images: int | None = None,
) -> Board:
    """Return a board restricted to some defenses (rows of it, or other specs), on another number of images.

    Rows whose adversarial images an attack of the board reuses are kept as well; they are run only as far as needed,
    and not shown.

    Args:
        name: A bundled board, or the path of a board.yaml.
        defenses: Names of rows, or specs; None for all rows.
        images: Number of images, the first in the board's order; more than the board's own lengthen it. None for the
            board's own.
        radius: A radius other than the board's.
        cascade: Switches the cascade on.
        precision: Arithmetic of the attacks; None for the board's.
        channels_last: Switches the channels-last layout of weights on.
        compiled: Switches compiled networks on.
        until: When a run may stop (see `parse_until`); None for the board's rule.
        max_images: Largest number of images to run; None for the board's.

    Raises:
        PurebenchError: If one of these is unknown or invalid.
    """
    if precision not in (None, *PRECISIONS):
        raise PurebenchError(
            f"--attack-precision: {precision!r} is unknown; {did_you_mean(str(precision), PRECISIONS)}"
        )
    board = replace(load_board(find_board(name)), origin=name)
    if radius is not None:
        board = at_radius(board, radius)
    board = replace(
        board,
        cascade=board.cascade or cascade,
        attack_precision=precision or board.attack_precision,
        channels_last=board.channels_last or channels_last,
        compile=board.compile or compiled,
    )
    if images is not None:
        board = replace(board, dataset=replace(board.dataset, images=images))
    if defenses:
        board = with_rows(board, [row(board, text) for text in defenses])
    return _stopping(board, until, max_images)


def _stopping(board: Board, until: Sequence[str] | None, max_images: int | None) -> Board:
    """Return the board with its stopping rule. Raises PurebenchError for one that could never be evaluated."""
    stop = parse_until(until, max_images, board.stop)
    if stop is not None and stop.decided and len(board.shown) < 2:
        raise PurebenchError("--until decided: expected at least 2 defenses to compare, but got 1; add another.")
    block = min(board.dataset.block, board.dataset.images)
    if stop is not None and stop.max_images is not None and stop.max_images < block:
        raise PurebenchError(
            f"--max-images: expected at least one block of {block} images, but got {stop.max_images}; to run a "
            "part of a block, use --images."
        )
    return replace(board, stop=stop)


def with_rows(board: Board, rows: Sequence[DefenseChoice]) -> Board:
    """Return the board with these rows in place of its own, and with those whose adversarial images its attacks reuse.

    Raises:
        PurebenchError: If two rows have the same name.
    """
    rows = tuple(replace(row, only_source=False) for row in rows)
    for row in rows:
        if sum(other.name == row.name for other in rows) > 1:
            raise PurebenchError(f"defense: expected each defense once, but got {row.name!r} twice; remove one.")
    check_file_names([row.name for row in rows], "defense")
    return replace(board, defenses=(*rows, *_sources(board, rows)))


def at_radius(board: Board, text: str) -> Board:
    """Return the board under another radius: a different board, named NAME@RADIUS, with its own results.

    Args:
        board: The board; it is returned unchanged if the radius is its own.
        text: The radius, such as 8/255.

    Raises:
        PurebenchError: If the text is not a radius.
    """
    text = text.replace(" ", "")
    threat = replace(board.threat, radius=parse_radius(text))
    if threat == board.threat:
        return board
    number = text.replace("/", "-") if "/" in text else f"{threat.radius:g}"
    own, other = (f"{threat.norm} {radius}" for radius in (board.radius_text, text))
    title = board.title.replace(own, other) if own in board.title else f"{board.title}, {other}"
    return replace(board, name=f"{board.name}@{number}", title=title, threat=threat, radius_text=text)


def _sources(board: Board, rows: Sequence[DefenseChoice]) -> list[DefenseChoice]:
    """Return the rows that were not asked for, but whose adversarial images an attack of the board reuses."""
    needed = {attack.source.defense for attack in board.attacks if attack.source is not None}
    missing = needed - {chosen.name for chosen in rows}
    return [replace(row, only_source=True) for row in board.defenses if row.name in missing]


def row(board: Board, text: str) -> DefenseChoice:
    """Return the board's row of this name or spec; if there is none, a new row named after the spec.

    A row of the board is returned as it is, so that its results are reproduced exactly.
    """
    for row in board.defenses:
        if text == row.name:
            return row
    spec = Spec.parse(text)
    for row in board.defenses:
        if spec == row.use:
            return row
    return DefenseChoice(label(text), spec)


def label(text: str) -> str:
    """Return a name for rows, files and folders, made from a spec.

    >>> label("path/to/file.py:mine(steps=3)")
    'file.py-mine-steps-3'
    """
    name = Spec.parse(text).name
    made = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{Path(name).name}{text[len(name) :]}").strip("-.")
    if len(made) > LONGEST:
        made = f"{made[: LONGEST - 13]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return made


def parse_until(texts: Sequence[str] | None, max_images: int | None, stop: Stop | None) -> Stop | None:
    """Return the stopping rule of a command line, or the board's own if none is given.

    Args:
        texts: "half-width=0.02" and "decided", both or either.
        max_images: Largest number of images to run; None for the board's.
        stop: The board's own rule, or None.

    Raises:
        PurebenchError: If a text is neither, or the half-width is not in (0, 0.5).
    """
    half_width, told_apart = (None, False) if texts or stop is None else (stop.half_width, stop.decided)
    for text in texts or ():
        name, _, number = text.replace("_", "-").replace(" ", "").partition("=")
        if name == "decided" and not number:
            told_apart = True
            continue
        try:
            half_width = float(number) if name == "half-width" else float("nan")
        except ValueError:
            half_width = float("nan")
        if half_width is None or not 0 < half_width < 0.5:
            raise PurebenchError(
                f"--until: expected half-width=H with H in (0, 0.5), such as 0.02 for two points, or decided, "
                f"but got {text!r}."
            )
    most = max_images if max_images is not None or stop is None else stop.max_images
    rule = Stop(half_width, told_apart, most)
    return None if rule == Stop() else rule
