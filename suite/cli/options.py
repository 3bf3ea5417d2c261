"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="SQLite file of all records; created if needed. Default: the user's data folder."),
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Run Python files that the board names outside its folder, without asking.")
]
