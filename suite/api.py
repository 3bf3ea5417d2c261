"""`purebench.evaluate`: a board from Python, for the defenses one names or holds in one's hands."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from purebench.boards import selection
from purebench.boards.board import Board, DefenseChoice
from purebench.boards.bundled import find_board
from purebench.boards.parse import NAME, load_board
from purebench.core.devices import find_device
from purebench.core.errors import PurebenchError
from purebench.core.files.places import default_store
from purebench.core.registry import Spec
from purebench.execution.board_run import Progress, run_board
from purebench.execution.in_memory import Thing, checked, label, lent
from purebench.execution.notebook_progress import watching
from purebench.report import Report
from purebench.results.merge import merge

Asked = str | Spec | Thing
"""A defense as one asks for it: a name, a spec, `path.py:name`, or an object."""


def evaluate(
    defense: Asked | Sequence[Asked] | Mapping[str, Asked] | None = None,
    board: str | Path | Board = "fashion-quick",
    *,
    images: int | None = None,
    radius: str | float | None = None,
    device: str = "cpu",
    store: str | Path | None = None,
    workers: int = 1,
    retry_errors: bool = False,
    progress: bool | Progress = True,
) -> Report:
    """Evaluates defenses on a board, going on where an earlier run stopped; the report shows itself in a notebook.

    defense: a row of the board, a spec such as "gaussian-blur(sigma=2)" or "path/to/file.py:name", or an object: a
    `Purifier` (put before the board's classifier), a `Defense`, a module or a callable from images [N,C,H,W] in [0,1]
    to logits [N,K], deterministic unless it is a `Defense` that says otherwise. Or several of them, as a list or by the
    names that they shall have; None for all rows of the board.
    board: a bundled one, the path of a board.yaml, or a `Board`; images: only its first so many; radius: another than
    its own, such as "4/255" or 0.5. device: cpu, cuda or cuda:0. workers: processes (a script that asks for more than
    one needs `if __name__ == "__main__":`). retry_errors: run jobs again that ended in an error.
    store: SQLite file of all records, by default that of the command line; what is in it is not run again.
    progress: whether to show how far it is, or whom to tell.

    An object has no identity that a store could know it by: two with the same weights may run different code. So where
    one takes part, the jobs run in this process and every record is made anew, in a store that is gone at the end. The
    same object gives the same report. Save it as a file and name it to keep what was found and to use more workers.

    >>> import purebench
    >>> report = purebench.evaluate("none", images=2, progress=False)  # doctest: +SKIP
    >>> report.robust.percent()  # doctest: +SKIP
    '0.0 % [0.0, 84.2]'

    Raises PurebenchError for bad input, before anything is run.
    """
    find_device(device)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise PurebenchError(f"workers: expected a whole number of at least 1, but got {workers!r}.")
    if store is not None and not isinstance(store, str | Path):
        raise PurebenchError(f"store: expected the path of a file, but got {store!r}.")
    asked = _by_name(defense)
    things = {name: one for name, one in asked.items() if not isinstance(one, str | Spec)}
    if things:
        _only_here(list(things), store, workers)
    with ExitStack() as stack:
        specs = stack.enter_context(lent({name: checked(thing) for name, thing in things.items()}))
        chosen = _board(board, images, radius)
        if asked:
            chosen = selection.with_rows(
                chosen, [_row(chosen, name, specs.get(name, one)) for name, one in asked.items()]
            )
        folder = Path(stack.enter_context(TemporaryDirectory())) if things else None
        path = folder / "records.sqlite" if folder else Path(store) if store else default_store()
        tell = progress if callable(progress) else stack.enter_context(watching(progress))
        context, records = run_board(
            chosen, path, device=device, workers=workers, retry_errors=retry_errors, progress=tell
        )
    for warning in context.warnings:
        warnings.warn(warning, stacklevel=2)
    found = merge(chosen, records)
    return Report(chosen, tuple(found), context.images.classes, tuple(context.left_out))


def _by_name(defense: Asked | Sequence[Asked] | Mapping[str, Asked] | None) -> dict[str, Asked]:
    """What is asked for, by the name of its row; strings that are not named keep their own text for now."""
    if defense is None:
        return {}
    several: list[Any] = list(defense) if isinstance(defense, list | tuple | Mapping) else [defense]
    if not several:
        raise PurebenchError(f"evaluate: expected at least one defense, but got {defense!r}; None is all of a board.")
    if isinstance(defense, Mapping):
        if unnamed := [name for name in defense if not isinstance(name, str)]:
            raise PurebenchError(f"evaluate: expected defenses by their names, but got the name {unnamed[0]!r}.")
        return dict(defense)
    named: dict[str, Asked] = {}
    for one in several:
        name = str(one) if isinstance(one, str | Spec) else label(one)
        if name in named:
            raise PurebenchError(f"evaluate: expected each defense once, but {name!r} came twice; name them: {{…: …}}.")
        named[name] = one
    return named


def _only_here(names: Sequence[str], store: str | Path | None, workers: int) -> None:
    """Raises PurebenchError for what an object in memory cannot have: a store that lasts, and other processes."""
    cure = "save it as a file and name it, 'path/to/file.py:name'."
    if store is not None:
        raise PurebenchError(
            f"store: expected none for {names[0]}, which lives in memory and has no identity to be kept by; {cure}"
        )
    if workers != 1:
        raise PurebenchError(
            f"workers: expected 1 for {names[0]}, which lives in this process alone, but got {workers}; {cure}"
        )


def _board(board: str | Path | Board, images: int | None, radius: str | float | None) -> Board:
    chosen = board if isinstance(board, Board) else replace(load_board(find_board(str(board))), origin=str(board))
    if images is not None:
        if isinstance(images, bool) or not isinstance(images, int) or images < 1:
            raise PurebenchError(f"images: expected a whole number of at least 1, but got {images!r}.")
        chosen = replace(chosen, dataset=replace(chosen.dataset, images=images))
    return chosen if radius is None else selection.at_radius(chosen, f"{radius}")


def _row(board: Board, name: str, one: Asked) -> DefenseChoice:
    """The row for what was asked under this name: the board's own where it has it, so that it replays exactly."""
    spec = Spec.parse(one)
    if name in (one, str(spec)):  # it was given no name
        return selection.row(board, name)
    if not NAME.fullmatch(name):
        raise PurebenchError(f"evaluate: expected names of letters, digits and . _ + -, but got {name!r}.")
    sources = {attack.source.defense for attack in board.attacks if attack.source is not None}
    if name in sources and any(row.name == name and row.use != spec for row in board.defenses):
        raise PurebenchError(
            f"evaluate: expected another name than {name!r}, the row of {board.name} whose images other rows reuse; "
            "name yours: {'another': …}."
        )
    return DefenseChoice(name, spec)
