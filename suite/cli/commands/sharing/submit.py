"""The command `purebench submit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from purebench.cli.commands.sharing.verify import CodeOption
from purebench.core.errors import PurebenchError

if TYPE_CHECKING:
    from purebench.checks.verification.submission import Submission


def submit(
    source: Annotated[Path, typer.Argument(help="A bundle; with --check, the folder of a submission.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of submissions.")] = Path("submissions"),
    title: Annotated[str | None, typer.Option(help="Title of the paper or of the defense.")] = None,
    author: Annotated[list[str] | None, typer.Option(help="An author; may be given several times.")] = None,
    paper: Annotated[str, typer.Option(help="Address of the paper.")] = "",
    venue: Annotated[str, typer.Option(help="Where it was published.")] = "",
    year: Annotated[int | None, typer.Option(help="Year of publication.")] = None,
    code_url: Annotated[str, typer.Option(help="Address of the code.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of code and weights, such as MIT.")] = "",
    note: Annotated[str, typer.Option(help="A remark for readers.")] = "",
    code: CodeOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check the folder of a submission, as the leaderboard's workflow does.")
    ] = False,
    board: Annotated[
        str | None,
        typer.Option("--board", help="With --check: the board that it is submitted to; its settings must be equal."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write a summary to this file, as Markdown.")] = None,
) -> None:
    """Write the folder of a submission to a leaderboard: description, bundle, code, checksums; runs nothing.

    The folder OUT/BOARD/ROW is checked, and can be added to a branch of the leaderboard's repository
    (CONTRIBUTING-boards.md).

    Example: purebench submit trades.zip --title "Adversarial training" --author "A. Author" --licence MIT

    Example: purebench submit --check submissions/fashion-quick/trades
    """
    from purebench.checks.verification.submission import check_submission, write_submission
    from purebench.checks.verification.summary import summary, summary_markdown
    from purebench.core.terminal_output import make_console
    from purebench.results.files.export import write_files

    described: dict[str, Any] = {"paper": paper, "venue": venue, "code": code_url, "licence": licence, "note": note}
    if check:
        given = [title, author, year, code, *described.values()]
        if any(given):
            raise PurebenchError("--check: expected no description and no --code beside it; remove these options.")
        found: Submission = check_submission(source, board)
    else:
        if title is None or not author:
            raise PurebenchError("submit: expected --title and at least one --author; add them.")
        if board is not None:
            raise PurebenchError("--board belongs to --check; add it, or remove --board.")
        found = write_submission(source, out, {"title": title, "authors": author, "year": year, **described}, code)
    make_console().print(summary(found))
    if report is not None:
        write_files({report: summary_markdown(found)})
