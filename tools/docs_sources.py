"""A hook of mkdocs: lays the four folders of the checkout out as the package that they are, for the API reference.

mkdocstrings reads the source without running it and looks for a folder `purebench`; in the checkout its parts are
`suite`, `attacks`, `defenses` and `leaderboards`. A folder of links stands for the package.
"""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "source"


def lay_out() -> None:
    """Make the links anew."""
    shutil.rmtree(PLACE, ignore_errors=True)
    package = PLACE / "purebench"
    package.mkdir(parents=True)
    parts = [*(ROOT / "suite").iterdir(), *(ROOT / name for name in ("attacks", "defenses", "leaderboards"))]
    for part in parts:
        (package / part.name).symlink_to(part)


lay_out()  # when mkdocs reads its configuration: plugins look for the folder before any event of theirs
