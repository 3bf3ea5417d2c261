"""The command `purebench tune`: searches the alphas of a purifier that mixes latents."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purebench.cli.options import IN_MINUTES, OneDeviceOption, TrustOption, in_minutes
from purebench.cli.progress import progress_bar

if TYPE_CHECKING:
    from rich.console import Console

    from purebench.latents.tuning.tune import Tuned


def tune(
    defense: Annotated[str, typer.Argument(help="A defense that mixes latents, such as 'mlvgm-hvae(blur=1)'.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for trials, result and picture; an interrupted search in it is continued. Default: tuned/ "
            "and the name of the defense."
        ),
    ] = None,
    search: Annotated[str, typer.Option(help="Search method: gp (Gaussian process, needs Optuna) or random.")] = "gp",
    space: Annotated[
        str, typer.Option(help="Search space: full (each alpha separately), power or sigmoid (rising curves).")
    ] = "full",
    objective: Annotated[
        str,
        typer.Option(
            help=(
                "Objective: adaptive (each list of alphas is attacked anew) or paper (adversarial images made once, by "
                "FGSM in l2)."
            )
        ),
    ] = "adaptive",
    evaluations: Annotated[
        int, typer.Option(help=("Number of lists of alphas to evaluate, including those of earlier runs."), min=1)
    ] = 100,
    minutes: Annotated[
        float | None,
        typer.Option(
            help=f"Time limit, after which no evaluation is started. {IN_MINUTES}",
            metavar="TIME",
            parser=in_minutes("--minutes"),
        ),
    ] = None,
    board: Annotated[
        str,
        typer.Option(
            help=("The board to tune for: its classifier and threat model are used, its images are left out.")
        ),
    ] = "fashion-linf",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set of the search; default: the dev images of the board's data set. Test images are refused."
        ),
    ] = None,
    skip: Annotated[
        int | None, typer.Option(help="Number of images to leave out at the beginning of the data set.", min=0)
    ] = None,
    images: Annotated[int, typer.Option(help="Number of images of the search.", min=1)] = 128,
    fresh: Annotated[
        int,
        typer.Option(help="Number of further images: one half selects the winner, the other half evaluates it.", min=4),
    ] = 256,
    finalists: Annotated[
        int, typer.Option(help=("Number of the best lists that are evaluated again on further images."), min=1)
    ] = 5,
    attenuation: Annotated[float, typer.Option(help="Factor on the alphas that are searched.")] = 0.7,
    attack: Annotated[str, typer.Option(help="The attack of the adaptive objective.")] = "apgd(steps=5)",
    gradient: Annotated[
        str,
        typer.Option(help="Gradient mode of this attack, such as exact or bpda-learned; see purebench list views."),
    ] = "exact",
    eot: Annotated[int, typer.Option(help="EOT samples: draws over which a gradient is averaged.", min=1)] = 2,
    draws: Annotated[int, typer.Option(help="Verification draws per image.", min=1)] = 8,
    norm: Annotated[str | None, typer.Option(help="Norm in place of the board's: linf, l2 or l1.")] = None,
    radius: Annotated[
        str | None, typer.Option("--radius", "--eps", help="Radius in place of the board's, such as 4/255.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of images, proposals, attacks and draws.", min=0)] = 0,
    device: OneDeviceOption = "cpu",
    trust: TrustOption = False,
) -> None:
    """Search the alphas of a purifier that mixes latents, on dev images, and evaluate the best on fresh ones.

    Example: purebench tune mlvgm-hvae --evaluations 60 --images 96
    """
    from purebench.boards.board import AttackChoice
    from purebench.boards.bundled import find_board
    from purebench.boards.parse import load_board
    from purebench.boards.selection import label
    from purebench.boards.trust import check_trust
    from purebench.core.compute.memory import keep_freed_memory
    from purebench.core.errors import PurebenchError
    from purebench.core.registry import Spec
    from purebench.core.threat import ThreatModel, parse_radius
    from purebench.latents.tuning.setting import setting_for
    from purebench.latents.tuning.tune import tune as run
    from purebench.latents.tuning.tune import write

    if minutes is not None and not minutes >= 0:
        raise PurebenchError(f"--minutes: expected a time of at least 0, such as 10, but got {minutes!r}.")
    keep_freed_memory()
    out = out or Path("tuned") / label(defense)
    chosen = load_board(find_board(board))
    check_trust(board, chosen, trust=trust)
    usual = setting_for(defense, chosen, dataset=dataset, skip=skip, objective=objective).threat
    threat = ThreatModel(norm or usual.norm, usual.radius if radius is None else parse_radius(radius))
    setting = setting_for(
        defense,
        chosen,
        dataset=dataset,
        skip=skip,
        threat=threat,
        objective=objective,
        images=images,
        fresh=fresh,
        attack=AttackChoice("attack", Spec.parse(attack), gradient, eot),
        draws=draws,
        attenuation=attenuation,
        seed=seed,
    )
    with progress_bar("preparing") as tell:
        found = run(
            setting,
            out,
            how=search,
            space=space,
            evaluations=evaluations,
            minutes=minutes,
            finalists=finalists,
            device=device,
            progress=tell,
        )
    print_table(found)
    for place in write(found, out, shlex.join(["purebench", *sys.argv[1:]])):
        typer.echo(f"wrote {place}")


def print_table(found: Tuned, console: Console | None = None) -> None:
    """Print the finalists, the winner first, and the meaning of the columns; 100 columns are enough."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from purebench.cli.commands.models.inspection_tables import console as usual
    from purebench.cli.commands.models.inspection_tables import points
    from purebench.latents.tuning.tune import attack_text

    console, setting = console or usual(), found.setting
    console.print(Text(f"Alphas of {setting.defense}", style="bold"))
    console.print(Text(attack_text(setting), style="dim"))
    asked = ", ".join(f"{how} {space}: {len(trials)}" for (how, space), trials in found.searches.items())
    apart = ", ".join(found.apart_from) or "no board"
    console.print(Text(f"evaluations: {asked} · {setting.images} images, none of them from {apart}", style="dim"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, header_style="bold")
    for head in ("", "search", "choice", "fresh", "clean", "to baseline"):
        table.add_column(head, justify="right" if head else "left", no_wrap=bool(head))
    for place, finalist in enumerate(found.finalists):
        searched = finalist.candidate.searched
        table.add_row(
            f"{'★ ' if place == 0 else '  '}{finalist.candidate.name}",
            "–" if searched is None else f"{100 * searched:.1f}",
            f"{100 * finalist.chosen.value:.1f}",
            points(finalist.robust),
            points(finalist.clean),
            "–" if finalist.difference is None else points(finalist.difference, sign="+"),
        )
    console.print(table)
    half = found.winner.robust
    console.print(
        Text(
            "search: accuracy on the images of the search, which is biased upwards. choice: accuracy on "
            f"{found.winner.chosen.n} further images, which select the winner ★. fresh, clean: accuracy on "
            f"{half.n} other images with and without the attack, {100 * setting.confidence:g} % {half.method} "
            "intervals. to baseline: paired difference from the best list that needs no search.",
            style="dim",
        )
    )
    alphas = ", ".join(f"{alpha:g}" for alpha in found.winner.candidate.alphas)
    console.print(Text(f"winner: schedule=[{alphas}], attenuation={setting.attenuation:g}"))
