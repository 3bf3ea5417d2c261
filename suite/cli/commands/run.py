"""The command `purebench run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.options import (
    IN_SECONDS,
    DeviceOption,
    PerDeviceOption,
    StoreOption,
    TrustOption,
    WorkersOption,
    positive_seconds,
)
from purebench.core.files.places import default_store


def run(
    board: Annotated[
        str | None, typer.Argument(help="A bundled board (purebench list boards) or the path of a board.yaml.")
    ] = None,
    named: Annotated[
        str | None, typer.Option("--board", help="The board, as an option instead of an argument.")
    ] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option(
            "--defense",
            "-d",
            help="Only this defense: a row of the board, or any other defense such as 'gaussian-blur(sigma=2)' or "
            "path/to/file.py:name. May be given several times.",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            help="Use the first N images of the data set in the board's order: fewer than the board's own number "
            "shorten the board, more lengthen it.",
            min=1,
        ),
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            help="Stop as soon as a rule holds: half-width=0.02 (every interval is ± 2 points or shorter) or "
            "decided (all adjacent rows are statistically distinguishable, or are unlikely to become so by the "
            "last image); if both are given, both must hold. Evaluated after every block; the intervals are "
            "then confidence sequences, which are valid at any time."
        ),
    ] = None,
    max_images: Annotated[
        int | None,
        typer.Option(help="Stop early: after at most N images, in whole blocks. With --until, the latest end."),
    ] = None,
    radius: Annotated[
        str | None,
        typer.Option(
            "--radius",
            "--eps",
            help=(
                "Radius in place of the board's, such as 4/255; this is a separate board, named NAME@RADIUS in "
                "store and results."
            ),
        ),
    ] = None,
    store: StoreOption = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the board's page to this file (one self-contained HTML file).")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Write the results as JSON into this folder.")] = None,
    device: DeviceOption = "cpu",
    workers: WorkersOption = None,
    workers_per_device: PerDeviceOption = None,
    backend: Annotated[
        str,
        typer.Option(
            help="Where jobs run: serial (in this process), processes (on this machine), ray (on a Ray cluster; needs "
            "the extra `ray`), or auto: serial for one worker, else processes. It does not affect results."
        ),
    ] = "auto",
    address: Annotated[
        str | None,
        typer.Option(
            help="With --backend ray: host:port of the cluster, as `ray start --head` prints it, or auto for the one "
            "that runs on this machine. Without it, Ray is started on this machine."
        ),
    ] = None,
    cores_per_worker: Annotated[
        int, typer.Option(help="With --backend ray: CPU cores that each worker reserves.", min=1)
    ] = 1,
    job_limit: Annotated[
        float | None,
        typer.Option(
            help="A job that runs longer is ended and run again; after three attempts it is errored. Default: 24h, or "
            f"none with one worker, which computes in this process. {IN_SECONDS}",
            metavar="TIME",
            parser=positive_seconds("--job-limit"),
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Stop after whole blocks of images, so that all rows have the same images: a block is started only if "
            f"it is expected to end within this time. The same command continues the run. {IN_SECONDS}",
            metavar="TIME",
            parser=positive_seconds("--budget"),
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="Run the board of a plan file (purebench plan BOARD --write plan.json), in place of BOARD."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="With --plan: run only share K of N of its jobs, such as 2/8, into a store of its own (default: "
            "beside the plan file); purebench merge joins the stores.",
            metavar="K/N",
        ),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another run that writes to the store.", min=0)] = 0,
    retry_errors: Annotated[bool, typer.Option(help="Run jobs again that ended in an error.")] = False,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Skip the remaining attacks on an image that an attack has broken: cheaper, but the accuracies "
            "under single attacks are then conditional. The same as `cascade: true` in the board.yaml.",
        ),
    ] = False,
    attack_precision: Annotated[
        str | None,
        typer.Option(
            help="Arithmetic of the attacks: float32, tf32 (NVIDIA GPUs) or bf16; verification is always in float32."
        ),
    ] = None,
    channels_last: Annotated[
        bool,
        typer.Option(
            "--channels-last",
            help="Use weights in the channels-last layout in the attacks' passes, in which convolutions of many "
            "networks are faster. The same as `channels_last: true` in the board.yaml.",
        ),
    ] = False,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Call the networks of classifiers and purifiers compiled (torch.compile) in the attacks' passes; "
            "verification runs uncompiled. Each network is compiled for two batch sizes, which takes minutes. Networks "
            "that cannot be compiled run uncompiled, with a warning. The same as `compile: true` in the board.yaml.",
        ),
    ] = False,
    evidence: Annotated[
        bool | None,
        typer.Option(
            "--evidence/--no-evidence",
            help="Run the board's control rows as well, whose robust accuracy is known (docs/controls.md), and its "
            "ladder of effort (docs/convergence.md). They are kept in the store. Default: if the whole board is run, "
            "without -d, --images and --budget. Controls are run on the images of the rows; --budget limits neither.",
        ),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Evaluate a board, continuing an earlier run, and print its ranking.

    Examples: purebench run fashion-quick --page board.html

    purebench run --defense path/to/file.py:name --board fashion-quick

    purebench run fashion-linf -d vae -d trades --until decided --until half-width=0.05

    purebench run fashion-linf --device auto --budget 2h

    purebench run fashion-linf --backend ray --address 10.0.0.1:6379 --device cuda

    purebench run --plan plan.json --shard 2/8

    The exit code is 1 if images of a row errored, so that the row has bounds instead of a number; --retry-errors runs
    those jobs again.
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose, lengthened, the_one
    from purebench.boards.trust import check_trust
    from purebench.cli.missing_files import require_classifier
    from purebench.cli.shard_run import run_plan
    from purebench.core.errors import PurebenchError
    from purebench.core.terminal_output import complain
    from purebench.execution.auto_effort import run_at_effort
    from purebench.execution.backends.compute import Compute
    from purebench.execution.backends.pool import Limits
    from purebench.execution.companions import evaluated_part, run_companions
    from purebench.execution.progress.terminal import run_progress
    from purebench.leaderboards.output import check_outputs, finish
    from purebench.results.files.companions import companions_in_store
    from purebench.results.files.stored_board import unlisted

    limits = None if job_limit is None else Limits(job=job_limit)
    compute = Compute(device, workers, workers_per_device, backend, address, cores_per_worker, limits)
    compute.check()
    if plan is not None or shard is not None:
        chosen_otherwise = {
            "BOARD": board,
            "--board": named,
            "--defense": defense,
            "--images": images,
            "--until": until,
            "--max-images": max_images,
            "--radius": radius,
            "--cascade": cascade,
            "--attack-precision": attack_precision,
            "--channels-last": channels_last,
            "--compile": compiled,
            "--budget": budget,
            "--page": page,
            "--results": results,
            "--evidence": evidence,
        }
        run_plan(plan, shard, chosen_otherwise, store, compute, wait, retry_errors=retry_errors, trust=trust)
        return
    name = the_one(board, named)
    chosen = choose(
        name,
        defense,
        images,
        radius=radius,
        cascade=cascade,
        precision=attack_precision,
        channels_last=channels_last,
        compiled=compiled,
        until=until,
        max_images=max_images,
    )
    check_trust(name, load_board(find_board(name)), trust=trust)
    if told := lengthened(chosen):
        complain(told)
    check_outputs(page, results, [row.name for row in chosen.shown])
    require_classifier(chosen)
    failed: PurebenchError | None = None
    with run_progress() as watch:
        reached, context, records = run_at_effort(
            chosen,
            store or default_store(),
            compute=compute,
            budget=budget,
            wait=wait,
            retry_errors=retry_errors,
            keep_rows=True,
            progress=watch,
            tell=complain,
        )
        if evidence or (evidence is None and not defense and images is None and budget is None):
            try:
                run_companions(
                    evaluated_part(reached, records),
                    store or default_store(),
                    compute=compute,
                    wait=wait,
                    retry_errors=retry_errors,
                    progress=watch,
                    tell=complain,
                )
            except PurebenchError as error:  # the rows are finished, and their results are written first
                failed = error
    companions = companions_in_store(store or default_store(), reached)
    found = finish(reached, records, page, results, context.images, context.order, context.left_out, companions)
    complain(unlisted(store or default_store(), chosen.name))
    if failed is not None:
        raise failed
    if any(result.errored for result in found):
        raise typer.Exit(1)  # a row has bounds instead of a number
