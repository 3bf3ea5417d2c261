"""Makes the files about single rows that `purebench export` writes: entries of RobustBench, and model cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from purebench.boards.board import Board
from purebench.boards.replay import run_command
from purebench.cli.output.citations import paper
from purebench.core.errors import PurebenchError
from purebench.core.registry import Spec
from purebench.results.files.verdicts import RowBadge
from purebench.results.ranking.rank import Row

MODEL_INFO = "model_info"
CARDS = "cards"


def model_infos(rows: Sequence[Row], folder: Path, badges: Mapping[str, RowBadge]) -> tuple[dict[Path, str], list[str]]:
    """Return the entries of RobustBench for the deterministic rows.

    Args:
        rows: The rows of a board.
        folder: The folder of the export.
        badges: What is known about the verification of the rows.

    Returns:
        The text of each file below folder/model_info, and for each other row the reason why it has none.
    """
    from purebench.integrations.robustbench.model_info import as_text, of_row, path_of
    from purebench.leaderboards.badge_text import shown_badge

    files, refused = {}, []
    for row in rows:
        try:
            entry = of_row(row.result, paper(str(row.result.spec["name"])), shown_badge(row.name, badges))
        except PurebenchError as error:
            refused.append(str(error))
            continue
        files[folder / MODEL_INFO / path_of(entry, row.result.board["threat"]["norm"], row.name)] = as_text(entry)
    return files, refused


def model_cards(
    rows: Sequence[Row], board: Board, folder: Path, badges: Mapping[str, RowBadge]
) -> tuple[dict[Path, str], list[str]]:
    """Return a part of a model card for each row.

    Args:
        rows: The rows of a board.
        board: The board.
        folder: The folder of the export.
        badges: What is known about the verification of the rows.

    Returns:
        The text of each file in folder/cards, and for each other row the reason why it has none.
    """
    from purebench.integrations.model_card import model_card
    from purebench.leaderboards.badge_text import shown_badge
    from purebench.leaderboards.table_files import MARKDOWN

    files, refused = {}, []
    for row in rows:
        spec = Spec(str(row.result.spec["name"]), row.result.spec.get("params", {}))
        try:
            text = model_card(
                row, run_command(board, spec), shown_badge(row.name, badges), lambda text: text.translate(MARKDOWN)
            )
        except PurebenchError as error:
            refused.append(str(error))
            continue
        files[folder / CARDS / f"{row.name}.md"] = text
    return files, refused
