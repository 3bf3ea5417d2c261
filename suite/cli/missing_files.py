"""Shows which published files a command needs and does not find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from purebench.core.errors import Missing


def missing_table(files: Iterable[Missing]) -> Iterator[str]:
    """Yield the lines of a list of missing files: for each its place, and below it source, size, hash and licence.

    Addresses are too long for columns, and a reader copies them.

    Args:
        files: the missing files.
    """
    files = list(files)
    yield f"purebench: {len(files)} files are missing on this machine:"
    for file in files:
        yield f"  {file.place}"
        size = f"{file.size:,} bytes" if file.size else "size not known"
        digest, licence = file.digest or "hash not known", file.licence or "not known"
        yield f"    {size}; {digest}; licence {licence}"
        yield f"    published at {file.published}"
    yield (
        "Put them there, or set $PUREBENCH_DATA or $PUREBENCH_MODELS to the folder that contains them. A row of a "
        "board runs as soon as its files are there, and those of the images and of the board's classifier."
    )
