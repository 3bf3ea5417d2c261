"""The files behind the buttons of a board: the table as CSV and LaTeX, citations, and all numbers as JSON."""

from __future__ import annotations

from typing import Any

from purebench.leaderboards.site.cards import Catalogue, registered_name
from purebench.leaderboards.site.source import BoardSource
from purebench.leaderboards.table_files import attacks_comma_separated, comma_separated, latex
from purebench.results.files.export import as_json


def downloads(source: BoardSource, payload: dict[str, Any], catalogue: Catalogue) -> dict[str, str]:
    """Return the text of each file by its ending; tables are those of `purebench export`.

    Args:
        source: the board.
        payload: the data of its page.
        catalogue: the cards of its defenses.
    """
    names = list(dict.fromkeys(name for row in source.rows if (name := registered_name(row))))
    local = ("page", "data", "pictures")
    rows = [{key: value for key, value in row.items() if key not in local} for row in payload["rows"]]
    return {
        "csv": comma_separated(source.rows, source.badges),
        "attacks.csv": attacks_comma_separated(source.rows),
        "tex": latex(source.rows, f"{source.board.title}: robust accuracy and its interval.", source.badges),
        "bib": catalogue.bibtex(names),
        "json": as_json({key: value for key, value in payload.items() if key != "clean"} | {"rows": rows}),
    }
