"""The command line: `purebench run`, `show`, `list` and more; what is heavy is imported when needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from purebench.cli.commands.check import check
from purebench.cli.commands.compare import compare
from purebench.cli.commands.convert import convert
from purebench.cli.commands.export import export
from purebench.cli.commands.inspect_latents import inspect_latents
from purebench.cli.commands.new import app as new
from purebench.cli.commands.plan import plan
from purebench.cli.commands.tune import tune
from purebench.cli.options import StoreOption, TrustOption
from purebench.core.errors import PurebenchError
from purebench.core.files.places import default_store
from purebench.core.terminal_output import complain, open_streams
from purebench.execution.interruption import ending_in_order

app = typer.Typer(
    name="purebench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="How robust is a defended image classifier against an attacker who knows the defense?\n\n"
    "Start with [bold]purebench run fashion-quick[/bold]; see what there is with [bold]purebench list[/bold].",
)


@app.command()
def run(
    board: Annotated[
        str | None, typer.Argument(help="A bundled board (purebench list boards) or the path of a board.yaml.")
    ] = None,
    named: Annotated[str | None, typer.Option("--board", help="The board, where one would rather name it so.")] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option(
            "--defense",
            "-d",
            help="Only this defense: a row of the board, or any other such as 'gaussian-blur(sigma=2)' or "
            "path/to/file.py:name. May be given several times.",
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(help="Only the first so many images of the board.", min=1)] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(
            help="Stop as soon as results allow it: half-width=0.02 (every interval is ± 2 points or shorter), decided "
            "(every two neighbours are told apart, or would hardly be by the last image); given twice, both must hold. "
            "Looked at after every block; the intervals are then those of confidence sequences, which hold at any time."
        ),
    ] = None,
    max_images: Annotated[
        int | None, typer.Option(help="Run at most so many images, in whole blocks; with --until, the latest end.")
    ] = None,
    radius: Annotated[
        str | None,
        typer.Option(help="Another radius, such as 4/255: a board of its own, named NAME@RADIUS in store and results."),
    ] = None,
    store: StoreOption = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the board's page here (one self-contained HTML file).")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Write the results as JSON into this folder.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")] = "cpu",
    workers: Annotated[int | None, typer.Option(help="Processes; default: one a core on the CPU.", min=1)] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another run that writes to the store.", min=0)] = 0,
    retry_errors: Annotated[bool, typer.Option(help="Run jobs again that ended in an error.")] = False,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Spare an image the attacks after the one that broke it: cheaper, but the numbers of single attacks "
            "are then conditional. The same as `cascade: true` in the board.yaml.",
        ),
    ] = False,
    attack_precision: Annotated[
        str | None,
        typer.Option(help="float32 or bf16 for the attacks' passes; verification is always in float32."),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Evaluate a board, going on where an earlier run stopped, and print its ranking.

    Examples: purebench run fashion-quick --page board.html

    purebench run --defense path/to/file.py:name --board fashion-quick

    purebench run fashion-linf -d vae -d trades --until decided --until half-width=0.05

    The exit code is 1 where images of a row ERRORED, so that the row has bounds and no number; --retry-errors runs
    those jobs again.
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose, the_one
    from purebench.boards.trust import check_trust
    from purebench.cli import show as shown
    from purebench.execution.board_run import run_board

    name = the_one(board, named)
    chosen = choose(
        name,
        defense,
        images,
        radius=radius,
        cascade=cascade,
        precision=attack_precision,
        until=until,
        max_images=max_images,
    )
    check_trust(name, load_board(find_board(name)), trust=trust)
    shown.check_outputs(page, results, [row.name for row in chosen.shown])
    with shown.progress() as progress:
        context, records = run_board(
            chosen,
            store or default_store(),
            device=device,
            workers=workers,
            wait=wait,
            retry_errors=retry_errors,
            progress=progress,
            tell=shown.tell,
        )
    found = shown.finish(chosen, records, page, results, context.images, context.order, context.left_out)
    if any(result.errored for result in found):
        raise typer.Exit(1)  # there is a row without a number


@app.command()
def show(
    board: Annotated[
        str | None, typer.Argument(help="The board's name; without it the boards in the store are listed.")
    ] = None,
    store: StoreOption = None,
    page: Annotated[Path | None, typer.Option(help="Write the board's page here.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            help="With a board: write its results as JSON into this folder. Without board and --store: show the "
            "results in this folder; no store, images or models are needed."
        ),
    ] = None,
) -> None:
    """Show what a store or a folder of results holds: its boards, or the ranking of one, also while a run is at work.

    Runs no code that the store names. Example: purebench show --results my-results --page board.html
    """
    from purebench.cli import show as shown
    from purebench.cli.result_files import show_results

    if board is None and store is None and results is not None:
        show_results(results, page)
        return
    shown.check_outputs(page, results)
    shown.stored(store or default_store(), board, page, results)


@app.command("list")
def list_names(
    what: Annotated[
        str | None, typer.Argument(help="defenses, attacks, views, classifiers, datasets, recipes or boards.")
    ] = None,
) -> None:
    """List what is registered, by this package and by others, with a line on each."""
    from purebench.cli.listing import print_names

    print_names(what)


@app.command()
def robustbench(
    models: Annotated[Path, typer.Option(help="RobustBench's model folder: DATASET/THREAT/NAME.pt.")],
    model: Annotated[
        str | None, typer.Argument(help="A model of the zoo; without it, those in the folder are listed.")
    ] = None,
    data: Annotated[
        Path, typer.Option(help="Folder of cifar-10-batches-py, cifar-100-python or ImageNet's val.")
    ] = Path("data"),
    dataset: Annotated[str, typer.Option(help="cifar10, cifar100 or imagenet.")] = "cifar10",
    threat: Annotated[str, typer.Option(help="Linf or L2.")] = "Linf",
    radius: Annotated[str | None, typer.Option(help="Such as 8/255; default: the leaderboard's.")] = None,
    images: Annotated[int | None, typer.Option(help="Only the first so many test images.", min=1)] = None,
    batch: Annotated[int, typer.Option(help="Images at once; with the seed it decides the result.", min=1)] = 32,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Seed of AutoAttack.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON here.")] = None,
) -> None:
    """Evaluate a model of RobustBench's zoo by its own protocol, from local files; downloads nothing.

    Example: purebench robustbench Carmon2019Unlabeled --models models --data data --images 100
    """
    from purebench.core.threat import parse_radius
    from purebench.integrations.robustbench.benchmark import command

    command(
        model,
        model_dir=models,
        data_dir=data,
        dataset=dataset,
        threat_model=threat,
        eps=None if radius is None else parse_radius(radius),
        n_examples=images,
        batch_size=batch,
        device=device,
        seed=seed,
        out=out,
    )


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="The recipe (purebench list recipes).")],
    out: Annotated[Path, typer.Option(help="Folder for weights, log, card and the state to resume from.")] = Path(
        "trained"
    ),
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:0.")] = "cpu",
    minutes: Annotated[float | None, typer.Option(help="Time budget; default: the recipe's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Budget in steps instead of minutes: the seed decides all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.")] = 0,
    data: Annotated[str | None, typer.Option(help="Folder of the data set; default: found or downloaded.")] = None,
) -> None:
    """Train a bundled model by its recipe; started again with the same --out it goes on where it stopped."""
    from purebench.core import registry
    from purebench.core.devices import find_device
    from purebench.core.registry import Spec

    recipe, _ = registry.factory("recipes", Spec.parse(name).name)
    written = recipe(out=out, device=find_device(device), minutes=minutes, steps=steps, seed=seed, folder=data)
    typer.echo(f"wrote {written}")


app.command("inspect")(inspect_latents)
app.command()(plan)
app.command()(compare)
app.command()(export)
app.command()(tune)
app.command()(convert)
app.command()(check)
app.add_typer(new, name="new")


def main() -> None:
    """Entry point: a PurebenchError is one line on stderr and exit code 2; see `interruption` for signals."""
    open_streams()
    with ending_in_order():
        try:
            app()
        except PurebenchError as error:
            complain(f"purebench: {' '.join(str(error).split())}")
            sys.exit(2)
