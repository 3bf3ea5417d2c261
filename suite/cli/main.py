"""The command line: `purebench run`, `show`, `list` and more; heavy modules are imported when needed."""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Annotated

import typer

from purebench.cli.commands.break_defense import break_defense
from purebench.cli.commands.check import check
from purebench.cli.commands.comparing.challenge import challenge
from purebench.cli.commands.comparing.compare import compare
from purebench.cli.commands.interval import interval
from purebench.cli.commands.list_names import list_names
from purebench.cli.commands.merge import merge
from purebench.cli.commands.models.convert import convert
from purebench.cli.commands.models.fetch import fetch
from purebench.cli.commands.models.inspect_latents import inspect_latents
from purebench.cli.commands.models.sweep import sweep
from purebench.cli.commands.models.train import train
from purebench.cli.commands.models.tune import tune
from purebench.cli.commands.new import app as new
from purebench.cli.commands.plan import plan
from purebench.cli.commands.robustbench import robustbench
from purebench.cli.commands.run import run
from purebench.cli.commands.schema import schema
from purebench.cli.commands.sharing.bundle import bundle
from purebench.cli.commands.sharing.export import export
from purebench.cli.commands.sharing.site import app as site
from purebench.cli.commands.sharing.submit import submit
from purebench.cli.commands.sharing.verify import verify
from purebench.cli.commands.show import show
from purebench.cli.commands.try_defense import try_defense
from purebench.cli.missing_files import missing_table
from purebench.core.errors import MissingFiles, PurebenchError
from purebench.core.terminal_output import complain, open_streams
from purebench.execution.interruption import ending_in_order

app = typer.Typer(
    name="purebench",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Evaluate the adversarial robustness of defended image classifiers; the attacker knows the "
    "defense.\n\nStart with [bold]purebench run fashion-quick[/bold]; list all names with [bold]purebench "
    "list[/bold].",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from purebench import __version__

        typer.echo(f"purebench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    gc.enable()


app.command()(run)
app.command("try")(try_defense)
app.command()(show)
app.command("list")(list_names)
app.command()(robustbench)
app.command()(train)
app.command("inspect")(inspect_latents)
app.command()(plan)
app.command()(merge)
app.command()(compare)
app.command()(challenge)
app.command()(interval)
app.command()(export)
app.command()(tune)
app.command()(sweep)
app.command("break")(break_defense)
app.command()(bundle)
app.command()(verify)
app.command()(submit)
app.command()(convert)
app.command()(fetch)
app.command()(check)
app.command()(schema)
app.add_typer(new, name="new")
app.add_typer(site, name="site")


def main() -> None:
    """Run the command line.

    A PurebenchError is printed as one line on stderr, and several missing files as a table, with exit code 2; see
    `interruption` for signals.
    """
    open_streams()
    # objects of the imports live to the end; walks over them are a quarter of the time of a short command
    gc.disable()  # until a command begins
    atexit.register(gc.freeze)
    with ending_in_order():
        try:
            app()
        except MissingFiles as error:
            complain(f"purebench: {error}" if len(error.files) == 1 else missing_table(error.files))
            sys.exit(2)
        except PurebenchError as error:
            complain(f"purebench: {' '.join(str(error).split())}")
            sys.exit(2)
        finally:
            gc.enable()
