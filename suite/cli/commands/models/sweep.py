"""The command `purebench sweep`: evaluates several strengths of a defense, and chooses one by a written rule."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import DeviceOption, StoreOption, TrustOption, WorkersOption

if TYPE_CHECKING:
    from purebench.checks.sweeps.definition import Sweep


def sweep(
    board: Annotated[
        str,
        typer.Argument(
            help="A board (bundled, or a board.yaml), or a file with families of defenses. A bundled board without "
            "--defense: the sweep that comes with it."
        ),
    ],
    defense: Annotated[
        list[str] | None,
        typer.Option(
            "--defense",
            "-d",
            help="A defense with values in braces, such as 'diffpure(t={100, 150, 200}, steps=4)'. May be given "
            "several times.",
        ),
    ] = None,
    family: Annotated[
        list[str] | None, typer.Option(help="Only this family of the file. May be given several times.")
    ] = None,
    radius: Annotated[
        list[str] | None,
        typer.Option(
            "--radius",
            "--eps",
            help="A further radius at which the chosen strength is evaluated, or several: '{4/255, 32/255, 0.5}'.",
        ),
    ] = None,
    images: Annotated[int | None, typer.Option(help="Number of dev images; default: 64, or the file's.", min=1)] = None,
    largest_clean_loss: Annotated[
        float | None,
        typer.Option(help="Largest clean loss of a strength that is chosen; default: 0.1 (10 points), or the file's."),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="Skip the remaining attacks on an image that an attack has broken: cheaper."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for sweep.json, sweep.md and sweep.png; default: sweeps/ and the name of BOARD."),
    ] = None,
    store: StoreOption = None,
    device: DeviceOption = "cpu",
    workers: WorkersOption = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another run that writes to the store.", min=0)] = 0,
    retry_errors: Annotated[bool, typer.Option(help="Run jobs again that ended in an error.")] = False,
    trust: TrustOption = False,
) -> None:
    """Evaluate several strengths of a defense on dev images, choose one by a written rule, and draw the trade-off.

    The attacks are those of the board. Of the strengths that lose at most 10 points of clean accuracy, the one with the
    highest robust accuracy is chosen (docs/sweep.md); it is also evaluated at the other radii. No image of the board is
    used, so that the board's number for the chosen strength stays unbiased. The same command continues an interrupted
    sweep.

    Examples: purebench sweep fashion-quick -d 'gaussian-blur(sigma={0.5, 1, 2})' --radius '{4/255, 32/255}'

    purebench sweep fashion-families --family diffpure --workers 2

    The exit code is 1 if a strength has no number because of an error; --retry-errors runs those jobs again.
    """
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import choose, label
    from purebench.boards.trust import check_files, check_trust
    from purebench.checks.sweeps.markdown import markdown_table
    from purebench.checks.sweeps.picture import draw
    from purebench.checks.sweeps.run import SweepRun, run_sweep
    from purebench.checks.sweeps.sweep_board import sweep_board
    from purebench.cli.commands.models.sweep_tables import print_sweep
    from purebench.core.compute.memory import keep_freed_memory
    from purebench.core.errors import PurebenchError
    from purebench.core.files.places import default_store
    from purebench.core.terminal_output import complain
    from purebench.execution.backends.compute import Compute
    from purebench.execution.progress.terminal import run_progress
    from purebench.results.files.export import write_files

    asked = _sweep(board, defense or [], family or [], radius, images, largest_clean_loss, cascade=cascade)
    out = out or Path("sweeps") / label(board.removesuffix(".yaml").removesuffix(".yml"))
    if out.exists() and not out.is_dir():
        raise PurebenchError(f"--out: expected a folder, but {out} is a file; name another.")
    chosen = choose(asked.board, None, None)
    check_trust(asked.board, load_board(find_board(asked.board)), trust=trust)
    if asked.folder is not None:
        check_files(board, sweep_board(chosen, asked), asked.folder.resolve(), trust=trust)
    keep_freed_memory()
    with run_progress() as watch:
        outcome = run_sweep(
            chosen,
            asked,
            SweepRun(
                path=store or default_store(),
                compute=Compute(device, workers),
                wait=wait,
                retry_errors=retry_errors,
                progress=watch,
                tell=complain,
            ),
            command=shlex.join(["purebench", *sys.argv[1:]]),
        )
    print_sweep(outcome)
    out.mkdir(parents=True, exist_ok=True)
    write_files({out / "sweep.json": outcome.to_json(), out / "sweep.md": markdown_table(outcome)})
    draw(outcome, out / "sweep.png")
    for name in ("sweep.json", "sweep.md", "sweep.png"):
        typer.echo(f"wrote {out / name}")
    if outcome.errored:
        raise typer.Exit(1)


def _sweep(
    board: str,
    defenses: list[str],
    names: list[str],
    radii: list[str] | None,
    images: int | None,
    largest: float | None,
    *,
    cascade: bool,
) -> Sweep:
    """Return the sweep that the command line asks for; options replace the values of the file."""
    from dataclasses import replace

    from purebench.checks.sweeps.definition import IMAGES, Sweep, families_of, radii_of, read_sweep, sweep_file
    from purebench.core.errors import PurebenchError

    path = sweep_file(board)
    if defenses:
        if path == Path(board):
            raise PurebenchError(
                f"--defense: expected a board, but {board} is a file with families; name its board, or remove "
                "--defense."
            )
        path = None  # not the sweep that comes with a bundled board
    if path is None and not defenses:
        raise PurebenchError(
            f"sweep: expected a defense with several values of a parameter, such as -d 'jpeg(quality={{50, 75}})', "
            f"or a file with families, but {board} is a board without a sweep."
        )
    if path is None:
        if names:
            raise PurebenchError("--family: expected a file with families, but got --defense; remove one of them.")
        made = Sweep(board=board, families=families_of(defenses), radii=radii_of(radii or []), images=images or IMAGES)
    else:
        made = read_sweep(path)
        made = made.only(names) if names else made
        made = made if radii is None else replace(made, radii=radii_of(radii))
    return replace(
        made,
        images=images or made.images,
        largest_clean_loss=made.largest_clean_loss if largest is None else largest,
        cascade=made.cascade or cascade,
    )
