"""The command `purebench plan`: estimates the cost of a board and the precision of its results before it is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import (
    IN_SECONDS,
    DeviceOption,
    PerDeviceOption,
    StoreOption,
    TrustOption,
    WorkersOption,
    in_seconds,
)
from purebench.cli.progress import progress_bar
from purebench.core.files.places import default_store

if TYPE_CHECKING:
    from rich.table import Table

    from purebench.boards.board import Board
    from purebench.execution.backends.compute import Compute
    from purebench.execution.planning.cost_estimate import Price
    from purebench.execution.planning.forecast import Forecast

ACCURACIES = (0.1, 0.5, 0.9)
DISCORDANT = 0.25
"""Share of images on which exactly one of two rows is right, where nothing is known of them."""
POWER = 0.8


def plan(
    board: Annotated[str, typer.Argument(help="A bundled board (purebench list boards) or the path of a board.yaml.")],
    defense: Annotated[
        list[str] | None, typer.Option("--defense", "-d", help="Only this defense; may be given several times.")
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
        typer.Option(help=("As in `purebench run`; the estimate is then for the latest possible end.")),
    ] = None,
    max_images: Annotated[int | None, typer.Option(help="As in `purebench run`.")] = None,
    device: DeviceOption = "cpu",
    workers: WorkersOption = None,
    workers_per_device: PerDeviceOption = None,
    store: StoreOption = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write the plan as JSON to this file, for purebench run --plan FILE --shard K/N on several machines."
        ),
    ] = None,
    budget: Annotated[
        float,
        typer.Option(
            help=f"Approximate time of the trial run. {IN_SECONDS}", metavar="TIME", parser=in_seconds("--budget")
        ),
    ] = 60.0,
    trust: TrustOption = False,
) -> None:
    """Estimate the cost of a board on this device, the width of its intervals, and the smallest detectable differences.

    A short trial run executes jobs on one image. Jobs that are in the store already are counted, and not forecast; with
    --write this is the store of the plan, beside its file, unless --store names another.

    Example: purebench plan fashion-linf -d vae --images 200

    Example: purebench plan fashion-linf --write plan.json
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose, lengthened
    from purebench.boards.trust import check_trust
    from purebench.cli.shard_run import run_commands
    from purebench.core.compute.memory import keep_freed_memory
    from purebench.core.errors import PurebenchError
    from purebench.core.terminal_output import complain, make_console, printable
    from purebench.execution.backends.compute import Compute
    from purebench.execution.context import prepare
    from purebench.execution.early_checks import check_attacks
    from purebench.execution.planning.cost_estimate import forecast
    from purebench.execution.planning.forecast import Forecast, found_in
    from purebench.execution.planning.plan_file import as_text, plan_of, shard_store
    from purebench.execution.planning.shards import Shard
    from purebench.results.files.export import write_files

    if not budget >= 0:
        raise PurebenchError(f"--budget: expected a time of at least 0 s, such as 60, but got {budget!r}.")
    chosen = choose(board, defense, images, until=until, max_images=max_images)
    check_trust(board, load_board(find_board(board)), trust=trust)
    if told := lengthened(chosen):
        complain(told)
    keep_freed_memory()
    compute = Compute(device, workers, workers_per_device)
    compute.check()
    places = compute.places()
    context = prepare(chosen, compute.main_device())
    for name, error in context.left_out.items():
        print(f"{name} is left out: {error}", file=sys.stderr)
    check_attacks(context.board)
    with progress_bar("trial run") as tell:
        found = forecast(context, budget, tell)
    jobs = context.jobs()
    place = store or (default_store() if write is None else shard_store(write, Shard()))
    forecasts = Forecast(context.board, jobs, found, found_in(place, jobs))
    if write is not None:
        planned = plan_of(context.board, jobs, forecasts.seconds)
        write_files({write: as_text(planned)})
    evidence = [] if defense or images is not None else _evidence(chosen, compute, budget)
    console = make_console()
    console.print(_table(context.board, found))
    for line in (*_costs(context.board, found, forecasts, places), *evidence, *_telling(context.board)):
        console.print(line, highlight=False)
    if write is not None:
        for line in run_commands(write, planned.jobs):
            print(printable(line))


def _table(board: Board, found: Sequence[Price]) -> Table:
    from rich import box
    from rich.table import Table

    from purebench.core.files.text import duration
    from purebench.records.outcome import PICKED

    images = board.images_of(board.most_blocks)
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, header_style="bold")
    table.add_column("defense", overflow="fold")
    for name in ("attacks", "jobs", "forwards", "backwards", "time, one worker"):
        table.add_column(name, justify="right")
    table.add_column("")
    for row in board.defenses:
        of = [price for price in found if price.defense == row.name]
        tried = sum(price.measured for price in of)
        table.add_row(
            f"{row.name} (only source)" if row.only_source else row.name,
            str(sum(not price.skipped and price.attack not in PICKED for price in of)),
            f"{len(of) * board.most_blocks}",
            f"{images * sum(price.forwards for price in of):,.0f}",
            f"{images * sum(price.backwards for price in of):,.0f}",
            duration(images * sum(price.seconds for price in of)),
            "" if tried == len(of) else f"{tried} of {len(of)} attacks tried",
        )
    return table


def _costs(board: Board, found: Sequence[Price], forecast: Forecast, places: Sequence[str]) -> list[str]:
    from purebench.core.files.text import duration

    images = board.images_of(board.most_blocks)
    seconds = images * sum(price.seconds for price in found)
    jobs = len(found) * board.most_blocks
    lines = [
        f"{jobs:,} jobs, {images * sum(p.forwards for p in found):,.0f} forwards and "
        f"{images * sum(p.backwards for p in found):,.0f} backwards of images: {duration(seconds)} with one worker "
        "(right within a factor of three)"
    ]
    if forecast.done:
        left = sum(task.seconds for task in forecast.left)
        lines.append(
            f"{forecast.done:,} of {len(forecast.left) + forecast.done:,} jobs are in the store; "
            f"{len(forecast.left):,} remain: {duration(left)} with one worker"
        )
    lines += _by_workers(forecast, places)
    if sources := [row.name for row in board.defenses if row.only_source]:
        lines.append(
            f"only source: attacks on the other rows reuse the adversarial examples of {', '.join(sources)}, which is "
            "run only as far as they need it, and is not ranked"
        )
    if board.cascade:
        lines.append("at most: the cascade skips images that an earlier attack broke")
    if board.effort is not None and board.effort.auto:
        lines.append(
            f"at least: effort: auto doubles attacks until the rows have converged, with up to {board.effort.budget:,} "
            "purifier passes per image"
        )
    if board.stop is not None and board.stop.early:
        lines.append(f"at most: the run stops as soon as {board.stop.text}")
    return lines


def _evidence(board: Board, compute: Compute, budget: float) -> list[str]:
    """Return the cost of each board that `run` evaluates beside the rows: the controls, and the ladder of effort.

    Args:
        board: the board.
        compute: where the trial run is computed.
        budget: seconds of the trial run of each of these boards.
    """
    from purebench.core.files.text import duration
    from purebench.execution.companions import companion_boards
    from purebench.execution.context import prepare
    from purebench.execution.planning.cost_estimate import forecast

    lines = []
    for derived in companion_boards(board):
        context = prepare(derived, compute.main_device())
        with progress_bar(f"trial run of {derived.name}") as tell:
            found = forecast(context, budget, tell)
        seconds = derived.images_of(derived.most_blocks) * sum(price.seconds for price in found)
        lines.append(
            f"in addition {derived.name}: {len(found) * derived.most_blocks:,} jobs, {duration(seconds)} with one "
            "worker; --no-evidence leaves it out"
        )
    return lines


def _by_workers(forecast: Forecast, places: Sequence[str]) -> list[str]:
    """Return the expected time of the remaining jobs with several workers, and the time on each device."""
    from purebench.core.files.text import duration

    if not forecast.left:
        return []
    numbers = sorted({1, 2, 4, 8, 16, 64, len(places)})
    runs = {number: forecast.on(number) for number in numbers}
    told = ", ".join(f"{number}: {duration(run.seconds)}" for number, run in runs.items())
    here = runs[len(places)]
    devices = list(dict.fromkeys(places))
    each = f" on each of {len(devices)} devices" if len(devices) > 1 else f" on {devices[0]}"
    lines = [
        f"time by number of workers: {told}",
        f"with {len(places)} {'worker' if len(places) == 1 else 'workers'}: about {duration(here.seconds)}{each}, "
        f"limited by {here.limit}",
    ]
    return lines


def _telling(board: Board) -> list[str]:
    """Return the intervals and detectable differences to expect of this number of images."""
    from purebench.execution.planning.cost_estimate import expected_half_widths
    from purebench.statistics import smallest_difference

    images, confidence = board.images_of(board.most_blocks), board.confidence
    anytime = board.stop is not None and board.stop.early
    widths = [(at, *expected_half_widths(images, at, confidence, anytime)) for at in ACCURACIES]
    lines = [
        f"intervals to expect of {images} images at {100 * confidence:g} %, in points, where the accuracy is "
        + " / ".join(f"{100 * at:.0f} %" for at in ACCURACIES),
        "  deterministic rows  ± " + " / ".join(f"{100 * fixed:.1f}" for _, fixed, _ in widths),
        "  random rows         ± " + " / ".join(f"{100 * random:.1f}" for _, _, random in widths) + " at most",
    ]
    pairs = len(board.shown) * (len(board.shown) - 1) // 2
    if not pairs:
        return [*lines, "detectable difference: none, because it needs two rows, and this plan has one"]
    least = smallest_difference(images, DISCORDANT, POWER, alpha=1 - confidence)
    lines.append(
        f"differences that are detected with a probability of {100 * POWER:.0f} %, if exactly one of the two rows is "
        f"right on {100 * DISCORDANT:.0f} % of the images:"
    )
    lines.append(f"  two rows chosen beforehand  {_points(least)}")
    if pairs > 1:
        least = smallest_difference(images, DISCORDANT, POWER, comparisons=pairs, alpha=1 - confidence)
        lines.append(f"  all {f'{pairs} pairs':<22}  {_points(least)}")
    return lines


def _points(least: float) -> str:
    return "none: there are too few images" if least == inf else f"{100 * least:.1f} points or more"
