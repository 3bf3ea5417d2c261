"""Downloads files by HTTP, with resume; a file gets its final name only when it is complete and its hash is right."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from purebench.core.files.digests import CHUNK, Digest, file_digest
from purebench.core.files.http_answer import (
    BEGINNING,
    DownloadError,
    instead_of_file,
    stated_part,
    stated_size,
    strong_tag,
)
from purebench.core.files.partial_file import PartialFile
from purebench.core.files.text import MEBIBYTE

Progress = Callable[[str, int, int | None], None]
"""(what is done, bytes done, bytes in all or None) → nothing."""
TRIES = 5
"""Failures in a row, without more of the file than before any of them, after which a download is given up."""
TIMEOUT = 60.0
"""Seconds without an answer after which a connection is given up."""
LONGEST_PAUSE = 30.0
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes after which a server may answer when it is asked again."""
LOGIN = (401, 403)
ELSEWHERE = "set $PUREBENCH_MODELS (for images $PUREBENCH_DATA) to another folder"
RESERVE = 256 * MEBIBYTE
"""Bytes of the disk that are left free by a download of unknown size."""
CUT = (http.client.HTTPException, ConnectionError, TimeoutError)


class _Interrupted(Exception):
    """The connection ended before the file did."""


class _Changed(Exception):
    """The file on the server is not the one that the part belongs to."""


def download(
    url: str,
    place: Path,
    *,
    size: int | None = None,
    digest: Digest | None = None,
    progress: Progress = lambda what, done, total: None,
    pause: float = 1.0,
) -> str:
    """Download a file; an interrupted download is continued, also by a later call.

    Until the file is complete it is PLACE.part. It is continued if the server stated the size of the file, and states
    that the file is still the same one (a strong entity tag), or its hash is known.

    Args:
        url: the address of the file, http or https.
        place: its final path; the folder is made.
        size: its size in bytes, None if it is not known.
        digest: its hash, None if it is not known.
        progress: called with the bytes that were downloaded, and then hashed.
        pause: seconds before the second try; they double with each failure.

    Returns:
        The hash of the file in hexadecimal digits: by the algorithm of `digest`, else sha256.

    Raises:
        DownloadError: the server does not have the file, wants a login or sends a web page; or the file is of another
            size or hash; or the connection fails again and again.
    """
    if not re.match(r"https?://", url):
        raise DownloadError(f"{url}: expected an address that begins with http:// or https://.")
    with _writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        part = PartialFile(place, url)
        continued = part.size > 0
        while True:
            _receive_all(part, size, known=digest is not None, progress=progress, pause=pause)
            algorithm = digest.algorithm if digest else "sha256"
            computed = file_digest(
                part.path, algorithm, lambda done, total: progress(f"hash of {place.name}", done, total)
            )
            if digest is None or digest.fits(computed):
                part.finish()
                return computed
            part.clear()
            if not continued:
                raise DownloadError(
                    f"{place.name}: expected {digest}, but the file at {url} has {algorithm} {computed}: it is "
                    "damaged, or its authors have replaced it; nothing was kept."
                )
            continued = False  # the part may have been of an earlier file: once more, from the beginning


def _receive_all(part: PartialFile, size: int | None, *, known: bool, progress: Progress, pause: float) -> None:
    """Receive the rest of the file, with further tries after failures."""
    failures, changes, furthest = 0, 0, part.size
    while True:
        try:
            _receive(part, size, known=known, progress=progress)
            return
        except _Changed:
            part.clear()
            error: Exception = DownloadError("the file on the server changes while it is downloaded")
            changes += 1
            failures, furthest = changes, 0
        except (_Interrupted, *CUT) as cut:
            error = cut
            failures = 0 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
        except urllib.error.HTTPError as answer:
            if answer.code not in TRANSIENT:
                raise DownloadError(_refusal(part.url, answer)) from answer
            error, failures = answer, failures + 1
        except OSError as unreachable:  # that a file cannot be written is a DownloadError
            error, failures = unreachable, failures + 1
        if failures >= TRIES:
            raise DownloadError(
                f"{part.url}: expected the whole file, but the connection failed {failures} times in a row ({error}); "
                + (f"{part.size:,} bytes are kept, and " if (resumable := _resumable(part, known=known)) else "")
                + f"the same command {'continues' if resumable else 'begins again'}."
            ) from error
        time.sleep(min(pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE))


def _receive(part: PartialFile, size: int | None, *, known: bool, progress: Progress) -> None:
    """Send one request, for the rest of the file or for all of it, and append the answer to the part."""
    headers = {"User-Agent": "purebench", "Accept-Encoding": "identity"}
    resumed = _resumable(part, known=known)
    if resumed:
        if part.size == part.total and size in (None, part.total):
            return
        headers["Range"] = f"bytes={part.size}-"
        headers |= {"If-Range": part.validator} if part.validator else {}
    with closing(_open(part.url, headers, resumed=resumed)) as answer:
        if part.url.startswith("https:") and not answer.geturl().startswith("https:"):
            raise DownloadError(f"{part.url}: expected an encrypted connection, but it leads to {answer.geturl()}.")
        if answer.status != 200 and not (answer.status == 206 and resumed):
            raise DownloadError(
                f"{part.url}: expected the whole file (status 200), but the server answers with status "
                f"{answer.status}; download it by hand."
            )
        length = stated_size(part.url, answer)
        if answer.status == 206:
            limit: int | None = _end(part, answer)
        else:
            with _writing(part.path):
                part.restart(strong_tag(answer), length)
            limit = size if length is None else length
        if size is not None and part.total is not None and part.total != size:
            total = part.total
            _refuse_other(part, answer, answer.read(BEGINNING) if not part.size else None)
            part.clear()
            raise DownloadError(
                f"{part.place.name}: expected {size:,} bytes, but the file at {part.url} has {total:,}: its authors "
                "have replaced it, or the address leads elsewhere; nothing was kept."
            )
        _check_space(part, part.total)
        _append(part, answer, limit, progress)
    wanted = size if part.total is None else part.total
    if part.total is not None and part.size < part.total:
        raise _Interrupted(f"{part.size:,} of {part.total:,} bytes came")
    if wanted is not None and part.size != wanted:
        raise _other_size(part, wanted, f"{part.size:,}")


def _resumable(part: PartialFile, *, known: bool) -> bool:
    """Return whether the rest of the file may be asked for.

    The size of the whole file must have been stated, and a strong entity tag or the hash must tell whether the rest
    belongs to the same file.
    """
    return part.size > 0 and part.total is not None and bool(part.validator or known)


def _open(url: str, headers: Mapping[str, str], *, resumed: bool) -> http.client.HTTPResponse:
    try:
        opened: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(headers)), timeout=TIMEOUT
        )
    except urllib.error.HTTPError as refused:
        if refused.code == 416 and resumed:  # nothing of the file lies behind the part
            raise _Changed from refused
        raise
    except ValueError as error:  # an address that cannot be parsed, perhaps that of a redirect
        raise DownloadError(
            f"{url}: expected a valid address, but it is, or leads to, an invalid one: {error}."
        ) from error
    return opened


def _append(part: PartialFile, answer: http.client.HTTPResponse, limit: int | None, progress: Progress) -> None:
    """Append an answer to the part, which then has at most `limit` bytes, or leaves RESERVE bytes of the disk free."""
    at_beginning = not part.size
    while chunk := answer.read(CHUNK):
        if at_beginning:
            _refuse_other(part, answer, chunk)
            at_beginning = False
        if limit is None:
            _check_space(part, part.size + len(chunk) + RESERVE)
        elif part.size + len(chunk) > limit:
            raise _other_size(part, limit, "more")
        with _writing(part.path):
            part.append(chunk)
        progress(part.place.name, part.size, part.total)
    if at_beginning and part.total is None:
        _refuse_other(part, answer, b"")


def _other_size(part: PartialFile, wanted: int, came: str) -> DownloadError:
    part.clear()
    return DownloadError(
        f"{part.place.name}: expected {wanted:,} bytes, but {came} came from {part.url}; nothing was kept."
    )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a DownloadError; those of the connection have the same class."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{path}: expected a place that can be written, but {error}; free space or {ELSEWHERE}, and run the "
            "command again: it continues."
        ) from error


def _end(part: PartialFile, answer: http.client.HTTPResponse) -> int:
    """Return where a partial answer ends in the file; raise _Changed unless it continues the part."""
    stated, tag = stated_part(answer), strong_tag(answer)
    if stated is None or stated[0] != part.size or stated[2] != part.total:
        raise _Changed
    if part.validator and tag != part.validator:
        raise _Changed
    return stated[1]


def _refuse_other(part: PartialFile, answer: http.client.HTTPResponse, head: bytes | None) -> None:
    """Raise DownloadError for a web page, a text or a pointer of Git LFS in place of the file.

    Args:
        part: The part, which is then deleted.
        answer: The answer of the server.
        head: Its first bytes; None if it does not begin at the beginning of the file.
    """
    kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
    other = "" if head is None else instead_of_file(head, kind)
    if not other:
        return
    part.clear()
    title = re.search(rb"<title[^>]*>([^<]{1,80})", head or b"", re.IGNORECASE)
    called = f" ({' '.join(title[1].decode(errors='replace').split())})" if title else ""
    raise DownloadError(
        f"{part.url}: expected the file, but {other} came{called}; the server may want a login or a click there. "
        f"Open the address in a browser, and save the file as {part.place}."
    )


def _check_space(part: PartialFile, total: int | None) -> None:
    """Raise DownloadError unless the disk has space for a file of `total` bytes, part of which is here."""
    if total is not None and shutil.disk_usage(part.place.parent).free < total - part.size:
        raise DownloadError(
            f"{part.place}: expected {total - part.size:,} bytes of free space, but there are fewer; free some, "
            f"or {ELSEWHERE}."
        )


def _refusal(url: str, answer: urllib.error.HTTPError) -> str:
    if answer.code in LOGIN:
        return f"{url}: expected a public file, but the server wants a login or a permission ({answer.code})."
    if answer.code in (404, 410):
        return f"{url}: expected the file, but the server has none ({answer.code}); its authors may have moved it."
    return f"{url}: expected the file, but the server answers {answer.code} {answer.reason}."
