"""Shows which published files a command needs and does not find, and how to get each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from purebench.core.errors import Missing, MissingFiles

if TYPE_CHECKING:
    from purebench.boards.board import Board

DRIVE = re.compile(r"https://drive\.google\.com/(?:uc\?id=|file/d/)(?P<id>[\w-]+)")
PLACES = (
    ("drive.google.com/drive/folders", "open the address in a browser, and choose the file in the folder"),
    ("huggingface.co", "choose the file on the page; its name there is not known here"),
    ("image-net.org", "register there, accept the terms, and unpack the images into one folder per class"),
    ("github.com", "choose the file among the attachments of the release"),
)
"""Instructions for the user, by a part of the address."""
CURE = (
    "Put them there, or set $PUREBENCH_DATA or $PUREBENCH_MODELS to the folder that contains them. A row of a board "
    "runs as soon as its files are there, and those of the images and of the board's classifier. `purebench fetch "
    "BOARD` downloads those that can be downloaded."
)


def require_classifier(board: Board) -> None:
    """Check that the classifier's file is here, before the images are downloaded for nothing or in vain.

    Args:
        board: the board.

    Raises:
        MissingFiles: If it is missing; with all other missing files of the board.
    """
    from purebench.boards.files.needed_files import CLASSIFIER, needed_files

    alone = replace(board, defenses=(), attacks=())
    if any(one.found is None and CLASSIFIER in one.parts for one in needed_files(alone)):
        raise MissingFiles(*(one.file for one in needed_files(board) if one.found is None))


def missing_table(files: Iterable[Missing], parts: Mapping[str, Sequence[str]] | None = None) -> Iterator[str]:
    """Yield the lines of a list of missing files: for each its place, and below it what is known of it.

    Addresses are too long for columns, and a reader copies them.

    Args:
        files: the missing files.
        parts: what needs each file, by its place; None if that is not known.
    """
    files = list(files)
    are = "file is" if len(files) == 1 else "files are"
    yield f"purebench: {len(files)} {are} missing on this machine:"
    for file in files:
        yield f"  {file.place}"
        size = f"{file.size:,} bytes" if file.size else "size not known"
        digest, licence = file.digest or "hash not known", file.licence or "not known"
        yield f"    {size}; {digest}; licence {licence}"
        yield f"    published at {file.published}"
        yield f"    {how_to_get(file)}"
        if needing := (parts or {}).get(file.place):
            yield f"    needed by {', '.join(needing)}"
    yield CURE


def how_to_get(file: Missing) -> str:
    """Return how a user gets a file: by `purebench fetch`, or by hand and how.

    >>> how_to_get(Missing("/m/a.pt", "https://drive.google.com/uc?id=1t98"))
    'by hand: in a browser, or gdown 1t98 -O /m/a.pt'
    """
    if file.download:
        return "purebench fetch downloads it"
    if found := DRIVE.match(file.published):
        return f"by hand: in a browser, or gdown {found['id']} -O {file.place}"
    known = next((told for part, told in PLACES if part in file.published), "open the address in a browser")
    return f"by hand: {known}"
