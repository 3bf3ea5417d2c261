"""Runs a plan file, or one shard of it, into a store."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from purebench.boards.board import Board
from purebench.boards.bundled import find_board
from purebench.boards.parse import load_board
from purebench.boards.replay import command, run_command
from purebench.boards.trust import check_files
from purebench.core.errors import PurebenchError
from purebench.core.files.text import duration
from purebench.core.registry import Spec
from purebench.core.terminal_output import complain, printable
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_prepared, tell_preparation
from purebench.execution.companions import companion_boards
from purebench.execution.context import prepare
from purebench.execution.planning.plan_file import merged_store, read_plan, require_same_jobs, shard_store
from purebench.execution.planning.shards import Dependent, Shard, fewest, groups, keys_of, slowest
from purebench.execution.progress.terminal import run_progress

MOST = 16
"""Largest number of shares of the example that `plan --write` prints."""


def run_plan(
    path: Path | None,
    share: str | None,
    otherwise: Mapping[str, object],
    store: Path | None,
    compute: Compute,
    wait: float,
    *,
    retry_errors: bool,
    trust: bool,
) -> None:
    """Run the jobs of a plan file, or of one shard.

    Args:
        path: The plan file.
        share: The shard, such as 2/8; None for all jobs.
        otherwise: Options that choose a board or write its results, by name; none of them may be set.
        store: The store, None for one beside the plan file.
        compute: Where the jobs run.
        wait: Seconds to wait for another process that writes to the store.
        retry_errors: Whether to run ERRORED jobs again.
        trust: Whether the user has consented to run everything.

    Raises:
        PurebenchError: The options contradict each other, or the plan is invalid on this machine.
    """
    if path is None:
        raise PurebenchError(
            "--shard: expected the plan file of which this is a share, but got none; write it once with "
            "purebench plan BOARD --write plan.json, then add --plan plan.json."
        )
    if other := [name for name, value in otherwise.items() if value]:
        raise PurebenchError(
            f"--plan: expected no {', '.join(other)} beside it, because the plan file has the board and its options; "
            "write another plan, write page and results from the merged store (purebench show BOARD --store STORE), or "
            "run controls and ladder into it (purebench run BOARD --evidence --store STORE)."
        )
    shard = Shard() if share is None else Shard.parse(share)
    board, plan = read_plan(path)
    check_files(str(path), board, path.resolve().parent, trust=trust)
    context = prepare(board, compute.main_device())
    tell_preparation(context, complain)
    require_same_jobs(path, plan, context.jobs())
    only = keys_of(shard, plan.jobs)
    if not only:
        complain(
            f"shard {shard} has no job: the jobs of this plan depend on each other in {len(groups(plan.jobs))} groups, "
            "so that more shards stay empty."
        )
    place = store or shard_store(path, shard)
    with run_progress() as watch:
        records = run_prepared(
            board,
            context,
            place,
            compute=compute,
            only=only,
            wait=wait,
            retry_errors=retry_errors,
            progress=watch,
            tell=complain,
        )
    print(printable(f"shard {shard} of {board.name}: {len(records)} of {len(plan.jobs)} jobs are in {place}"))
    for line in next_commands(path, board, shard, store, place):
        print(printable(line))
    if any(record.errored for record in records):
        raise typer.Exit(1)


def run_commands(path: Path, jobs: Sequence[Dependent]) -> list[str]:
    """Return the lines that say how a plan is run.

    Args:
        path: The plan file.
        jobs: Its jobs.
    """
    found = groups(jobs)
    count = fewest(found, MOST) if any(job.seconds for job in jobs) else min(MOST, len(found))
    if count < 2:
        why = "its jobs depend on each other" if len(found) < 2 else "more shares do not end earlier"
        return [f"plan: {path}; {why}, so that one process runs it:", *_indented(_run(path))]
    lines = [
        f"plan: {path}; it can be divided into at most {len(found):,} shares, such as {count} of them, of which the "
        f"slowest takes about {duration(slowest(found, count))}:"
    ]
    return lines + _indented(_run(path, f"1/{count}"), *(["…"] if count > 2 else []), _run(path, f"{count}/{count}"))


def _run(path: Path, shard: str | None = None) -> str:
    return command("run", plan=path, shard=shard)


def next_commands(path: Path, board: Board, shard: Shard, store: Path | None, place: Path) -> list[str]:
    """Return the lines that a shard prints when it has ended: how the stores are merged and shown, and graded.

    Args:
        path: The plan file.
        board: The board of the plan.
        shard: The shard.
        store: The store that was asked for; None for the one beside the plan file.
        place: The store.
    """
    lines, whole = [], place
    if shard.count > 1:
        whole = merged_store(path)
        stem = shlex.quote(str(path.with_name(path.stem)))
        shards = f"{stem}.*-of-{shard.count}.sqlite" if store is None else f"{shlex.quote(str(place))} OTHER-STORES"
        merging = f"purebench merge {shards} -o {shlex.quote(str(whole))}"
        showing = command("show", board.name, store=whole)
        lines += ["when all shards have ended:", *_indented(merging, showing)]
    if companion_boards(board):
        running = run_command(board, _rows(board), evidence=True, store=whole)
        told = "a plan leaves out the controls and the ladder of effort; this runs them into the whole store:"
        lines += [told, *_indented(running)]
    return lines


def _rows(board: Board) -> list[Spec] | None:
    """Return the specs of the rows of a plan; None if these are all rows of the board's file."""
    rows = [row.use for row in board.shown]
    try:
        own = [row.use for row in load_board(find_board(board.origin)).shown]
    except PurebenchError:
        return rows
    return None if rows == own else rows


def _indented(*commands: str) -> list[str]:
    return [f"  {text}" for text in commands]
