"""Runs a plan file, or one shard of it, into a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import typer

from purebench.boards.trust import check_files
from purebench.core.errors import PurebenchError
from purebench.core.terminal_output import complain, printable
from purebench.execution.backends.compute import Compute
from purebench.execution.board_run import run_prepared, tell_preparation
from purebench.execution.companions import companion_boards
from purebench.execution.context import prepare
from purebench.execution.planning.plan_file import read_plan, require_same_jobs, shard_store
from purebench.execution.planning.shards import Shard, keys_of
from purebench.execution.progress.terminal import run_progress


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
    place = store or shard_store(path, shard)
    with run_progress() as watch:
        records = run_prepared(
            board,
            context,
            place,
            compute=compute,
            only=keys_of(shard, plan.jobs),
            wait=wait,
            retry_errors=retry_errors,
            progress=watch,
            tell=complain,
        )
    print(printable(f"shard {shard} of {board.name}: {len(records)} of {len(plan.jobs)} jobs are in {place}"))
    name = str(place) if shard.count == 1 else f"{path.stem}.sqlite"
    if shard.count > 1:
        print(
            printable(
                f"when all shards have ended: purebench merge {path.stem}.*-of-{shard.count}.sqlite -o {name}, then "
                f"purebench show {board.name} --store {name}"
            )
        )
    if companion_boards(board):
        print(
            printable(
                "a plan leaves out the controls and the ladder of effort; run them into the whole store, with the -d "
                f"and --images of the plan: purebench run {board.origin} --evidence --store {name}"
            )
        )
    if any(record.errored for record in records):
        raise typer.Exit(1)
