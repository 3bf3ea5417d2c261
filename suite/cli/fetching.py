"""Downloads the published files of a board that can be downloaded, and checks those that are on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from purebench.boards.files.needed_files import NeededFile
from purebench.cli.missing_files import how_to_get
from purebench.core.errors import Missing, PurebenchError
from purebench.core.files.digests import Digest, file_digest
from purebench.core.files.download import Progress, download
from purebench.core.files.http_answer import BEGINNING, instead_of_file
from purebench.core.files.recorded_hashes import RecordedHashes


class State(StrEnum):
    """The result of an attempt to get a file."""

    HERE = "here"
    DOWNLOADED = "downloaded"
    MISSING = "missing"
    FAILED = "failed"
    WRONG = "wrong"


@dataclass(frozen=True)
class Fetched:
    """A file after an attempt to get it.

    Attributes:
        needed: the file.
        state: the result.
        told: a remark, such as its hash.
    """

    needed: NeededFile
    state: State
    told: str

    @property
    def usable(self) -> bool:
        """True if it can be used now."""
        return self.state in (State.HERE, State.DOWNLOADED)


@contextmanager
def only_fetch(home: Path) -> Iterator[None]:
    """Make the folder of models, and keep other processes from fetching into it.

    Raises:
        PurebenchError: the folder cannot be made or written, or another process fetches into it.
    """
    from filelock import FileLock, Timeout

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / ".fetch.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise PurebenchError(f"expected no other purebench fetch into {home}, but one runs; wait for it.") from None
    except OSError as error:
        raise PurebenchError(
            f"{home}: expected a folder that can be written, but {error}; set $PUREBENCH_MODELS to another one."
        ) from error
    with lock:
        yield


def fetch_files(
    needed: Sequence[NeededFile], recorded: RecordedHashes, progress: Progress, *, only_check: bool = False
) -> list[Fetched]:
    """Download and check files, in their order; a failure does not prevent the others.

    Args:
        needed: the files.
        recorded: the hashes that were recorded at the first use of files whose hash is not known.
        progress: called with what is done, the bytes done and their number.
        only_check: write nothing.
    """
    return [_fetch(one, recorded, progress, only_check=only_check) for one in needed]


def _fetch(one: NeededFile, recorded: RecordedHashes, progress: Progress, *, only_check: bool) -> Fetched:
    if one.found is not None:
        return _checked(one, one.found, recorded, progress, only_check=only_check)
    file = one.file
    if not file.download or only_check:
        return Fetched(one, State.MISSING, how_to_get(file))
    place = Path(file.place)
    known = Digest.parse(file.digest)
    first = recorded.get(place)
    try:
        computed = download(
            file.download,
            place,
            size=file.size,
            digest=known or (Digest("sha256", first) if first else None),
            progress=progress,
        )
    except PurebenchError as error:
        again = (
            f" If its authors have replaced it, remove its line from {recorded.path}." if first and not known else ""
        )
        return Fetched(one, State.FAILED, f"{error}{again}")
    return Fetched(one, State.DOWNLOADED, _hash_told(place, known, computed, recorded, only_check=False))


def _checked(
    one: NeededFile, found: Path, recorded: RecordedHashes, progress: Progress, *, only_check: bool
) -> Fetched:
    """Check a file that is on this machine, perhaps under another of its names.

    Checked are its size and hash, as far as they are known, and that it is no text. The hash of a conversion is not
    known.
    """
    file = one.file
    if found.is_dir():
        return Fetched(one, State.HERE, "a folder, not checked")
    if found.suffix != Path(file.place).suffix:
        return Fetched(one, State.HERE, "a conversion, not checked")
    with found.open("rb") as stream:
        instead = instead_of_file(stream.read(BEGINNING))
    size, known = found.stat().st_size, Digest.parse(file.digest)
    of_copy = known is not None and known.of_copy
    if instead or (file.size is not None and size != file.size and (not of_copy or size < file.size)):
        came = instead or f"{size:,} bytes of {file.size:,}"
        return Fetched(one, State.WRONG, f"{came}; delete it, and get it again: {how_to_get(file)}")
    algorithm = known.algorithm if known else "sha256"
    computed = file_digest(found, algorithm, lambda done, total: progress(f"hash of {found.name}", done, total))
    if known is not None and not known.fits(computed):
        told = f"{algorithm} {computed}, but expected {file.digest}"
        return Fetched(one, State.HERE if of_copy else State.WRONG, told)
    first = recorded.get(found)
    if known is None and first not in (None, computed):
        return Fetched(one, State.WRONG, f"sha256 {computed}, but {first} at its first use ({recorded.path})")
    return Fetched(one, State.HERE, _hash_told(found, known, computed, recorded, only_check=only_check))


def _hash_told(place: Path, known: Digest | None, computed: str, recorded: RecordedHashes, *, only_check: bool) -> str:
    """Return the hash of a file as a remark; where none was known, it is recorded now or is the recorded one."""
    if known is not None:
        return f"{known.algorithm} {computed}, as {'a copy of a third party' if known.of_copy else 'published'}"
    if recorded.get(place) == computed:
        return f"sha256 {computed}, as at its first use"
    if only_check:
        return f"sha256 {computed}, and none is published or recorded"
    recorded.record(place, computed)
    return f"sha256 {computed}, recorded in {recorded.path} because none is published"


def still_missing(fetched: Sequence[Fetched]) -> list[Missing]:
    """Return the files that are not here, in their order."""
    return [one.needed.file for one in fetched if one.state in (State.MISSING, State.FAILED)]
