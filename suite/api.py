"""Defines `purebench.evaluate`, which runs a board from Python for named defenses or for objects in memory."""

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
from purebench.boards.schema_fields import Images
from purebench.core.compute.devices import find_device
from purebench.core.errors import PurebenchError
from purebench.core.files.places import default_store
from purebench.core.files.versioned_model import Line
from purebench.core.parameters import Count, check_value
from purebench.core.registry import Spec
from purebench.data.dev_images import refuse_reached
from purebench.execution.auto_effort import run_at_effort
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import JobProgress
from purebench.execution.companions import run_companions
from purebench.execution.in_memory import Thing, checked, label, lent
from purebench.execution.progress.notebook import watching
from purebench.report import Report
from purebench.results.files.adversarial import StoredExamples
from purebench.results.files.companions import companions_in_store
from purebench.results.merge import merge

Asked = str | Spec | Thing
"""A defense as the caller gives it: a name, a spec, `path.py:name`, or an object."""


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
    progress: bool | JobProgress = True,
    evidence: bool = False,
) -> Report:
    """Evaluate defenses on a board and return a report that a notebook displays as a table.

    A run that was interrupted continues from the records in the store. Defenses that exist only as objects in memory
    have no identity under which a store could keep their records: two objects with the same weights may run different
    code. If at least one of the defenses is such an object, all jobs run in this process, and all records are computed
    anew in a temporary store that is deleted with the report. The same object gives the same report. To keep the
    records and to use several workers, save the defense in a file and pass "path/to/file.py:name".

    Args:
        defense: a row of the board, a spec such as "gaussian-blur(sigma=2)" or "path/to/file.py:name", or an object: a
            `Purifier` (placed before the board's classifier), a `Defense`, or a module or callable from images
            [N,C,H,W] in [0,1] to logits [N,K], which is taken as deterministic unless it is a `Defense` that declares
            otherwise. Several defenses are passed as a list, or as a mapping from names to defenses. None evaluates all
            rows of the board.
        board: the name of a bundled board, the path of a board.yaml, or a `Board`.
        images: the number of images to use, the first in the board's order; more than the board's own number lengthen
            it. None for the board's own.
        radius: a radius that replaces the board's own, such as "4/255" or 0.5.
        device: `cpu`, `cuda`, `cuda:0`, several such as "cuda:0,cuda:1" for several workers, or `auto` for all GPUs.
        store: the SQLite file of all records, by default that of the command line. Jobs whose records are in it are not
            run again.
        workers: the number of processes. A script that uses more than one needs `if __name__ == "__main__":`.
        retry_errors: whether to run jobs again that ended in an error.
        progress: whether to show the progress, or a function to call with it.
        evidence: whether to run the board's control rows (docs/controls.md), on all images of the board, and its ladder
            of effort (docs/convergence.md) as well. Their results are reused from the store; `Report.controls` and
            `Report.evidence` have them also if an earlier run computed them.

    Returns:
        The report of all evaluated defenses.

    Raises:
        PurebenchError: invalid input, before anything is run.

    Examples:
        >>> import purebench
        >>> report = purebench.evaluate("none", images=2, progress=False)  # doctest: +SKIP
        >>> report.robust.percent()  # doctest: +SKIP
        '0.0 % [0.0, 84.2]'
    """
    check_value("workers", workers, Count)
    check_value("device", device, Line)
    compute = Compute(device, workers)
    find_device(compute.main_device())
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
        temporary = stack.enter_context(ExitStack())
        folder = Path(temporary.enter_context(TemporaryDirectory())) if things else None
        path = folder / "records.sqlite" if folder else Path(store) if store else default_store()
        tell = progress if callable(progress) else stack.enter_context(watching(progress))
        chosen, context, records = run_at_effort(
            chosen, path, compute=compute, retry_errors=retry_errors, keep_rows=True, progress=tell
        )
        if evidence:
            run_companions(chosen, path, compute=compute, retry_errors=retry_errors, progress=tell)
        companions = companions_in_store(path, chosen)
        kept = temporary.pop_all()  # the folder is deleted with the report
    stored = StoredExamples(path, records, kept.close)
    for warning in context.warnings:
        warnings.warn(warning, stacklevel=2)
    found = merge(chosen, records)
    return Report(chosen, tuple(found), context.images.classes, tuple(context.left_out), stored, companions)


def _by_name(defense: Asked | Sequence[Asked] | Mapping[str, Asked] | None) -> dict[str, Asked]:
    """Return the requested defenses by row name; unnamed strings keep their own text as their name for now."""
    if defense is None:
        return {}
    several: list[Any] = list(defense) if isinstance(defense, list | tuple | Mapping) else [defense]
    if not several:
        raise PurebenchError(
            f"evaluate: expected at least one defense, but got {defense!r}; pass None to evaluate all rows of the "
            "board."
        )
    if isinstance(defense, Mapping):
        if unnamed := [name for name in defense if not isinstance(name, str)]:
            raise PurebenchError(
                f"evaluate: expected names of defenses as strings, but got the name {unnamed[0]!r}; use strings as "
                "keys."
            )
        return dict(defense)
    named: dict[str, Asked] = {}
    for one in several:
        name = str(one) if isinstance(one, str | Spec) else label(one)
        if name in named:
            raise PurebenchError(
                f"evaluate: expected each defense once, but got {name!r} twice; pass a mapping with different "
                "names: {'a': …, 'b': …}."
            )
        named[name] = one
    return named


def _only_here(names: Sequence[str], store: str | Path | None, workers: int) -> None:
    """Raise PurebenchError if an object in memory is combined with a store or several workers."""
    cure = "save it in a file and pass 'path/to/file.py:name'."
    if store is not None:
        raise PurebenchError(
            f"store: expected None for {names[0]}, an object in memory, which has no identity under which its "
            f"records could be stored; {cure}"
        )
    if workers != 1:
        raise PurebenchError(
            f"workers: expected 1 for {names[0]}, an object in memory, which exists only in this process, but got "
            f"{workers}; {cure}"
        )


def _board(board: str | Path | Board, images: int | None, radius: str | float | None) -> Board:
    chosen = board if isinstance(board, Board) else replace(load_board(find_board(str(board))), origin=str(board))
    if images is not None:
        check_value("images", images, Images)
        if images > chosen.dataset.images:
            refuse_reached(chosen.dataset.use, chosen.dataset.images, images, chosen.dataset.seed)
        chosen = replace(chosen, dataset=replace(chosen.dataset, images=images))
    return chosen if radius is None else selection.at_radius(chosen, f"{radius}")


def _row(board: Board, name: str, one: Asked) -> DefenseChoice:
    """Return the row of a requested defense: the board's own row if it has this one, so that it replays exactly."""
    spec = Spec.parse(one)
    if name in (one, str(spec)):  # the caller gave no name
        return selection.row(board, name)
    if not NAME.fullmatch(name):
        raise PurebenchError(f"evaluate: expected names of letters, digits and . _ + -, but got {name!r}.")
    sources = {attack.source.defense for attack in board.attacks if attack.source is not None}
    if name in sources and any(row.name == name and row.use != spec for row in board.defenses):
        raise PurebenchError(
            f"evaluate: expected another name than {name!r}, the row of {board.name} whose adversarial images "
            "other rows reuse; choose another name: {'another': …}."
        )
    return DefenseChoice(name, spec)
