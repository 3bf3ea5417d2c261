"""A hook of mkdocs: links the four folders of the checkout as the package, and publishes the schema of boards.

mkdocstrings reads the source without running it and looks for a folder `purebench`; in the checkout its parts are
`suite`, `attacks`, `defenses` and `leaderboards`. A folder of links stands for the package. The JSON schema of boards
is kept beside the bundled boards, which refer to it; the site has a copy at its root.

PUREBENCH_SITE is the address of the leaderboard site, relative to the documentation; the navigation then links there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Link, Navigation

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "source"
SCHEMA = ROOT / "leaderboards" / "boards" / "board.schema.json"


def lay_out() -> None:
    """Recreate the links."""
    shutil.rmtree(PLACE, ignore_errors=True)
    package = PLACE / "purebench"
    package.mkdir(parents=True)
    parts = [*(ROOT / "suite").iterdir(), *(ROOT / name for name in ("attacks", "defenses", "leaderboards"))]
    for part in parts:
        (package / part.name).symlink_to(part)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the JSON schema of boards."""
    files.append(File.generated(config, SCHEMA.name, abs_src_path=str(SCHEMA)))
    return files


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> Navigation:
    """Add a link to the leaderboard site that the documentation is published with."""
    if place := os.environ.get("PUREBENCH_SITE"):
        nav.items.append(Link("Leaderboards", place))
    return nav


lay_out()  # runs when mkdocs reads its configuration, because plugins look for the folder before their first event
