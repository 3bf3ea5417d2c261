"""Downloads files by HTTP, with resume; a file gets its final name only when it is complete and its hash is right."""

from __future__ import annotations

import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from purebench.core.errors import PurebenchError
from purebench.core.files.digests import CHUNK, Digest, file_digest
from purebench.core.files.partial_file import PartialFile

Progress = Callable[[str, int, int | None], None]
"""(what is done, bytes done, bytes in all or None) → nothing."""
TRIES = 5
"""Failures in a row, without a byte received between them, after which a download is given up."""
TIMEOUT = 60.0
"""Seconds without an answer after which a connection is given up."""
LONGEST_PAUSE = 30.0
BEGINNING = 1024
PAGE = re.compile(rb"\s*(<!doctype html|<html|<\?xml|<!--)", re.IGNORECASE)
POINTER = b"version https://git-lfs"
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes after which a server may answer when it is asked again."""
LOGIN = (401, 403)
ELSEWHERE = "set $PUREBENCH_MODELS (for images $PUREBENCH_DATA) to another folder"
CUT = (http.client.HTTPException, ConnectionError, TimeoutError)


class DownloadError(PurebenchError):
    """A file could not be downloaded, or is not the one that was expected."""


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

    Until the file is complete it is PLACE.part. It is continued if the server states that the file is still the same
    one, or if its hash is known.

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
        computed = file_digest(part.path, algorithm, lambda done, total: progress(f"hash of {place.name}", done, total))
        if digest is None or digest.fits(computed):
            part.finish()
            return computed
        part.clear()
        if not continued:
            raise DownloadError(
                f"{place.name}: expected {digest}, but the file at {url} has {algorithm} {computed}: it is damaged, or "
                "its authors have replaced it; nothing was kept."
            )
        continued = False  # the part may have been of an earlier file: once more, from the beginning


def _receive_all(part: PartialFile, size: int | None, *, known: bool, progress: Progress, pause: float) -> None:
    """Receive the rest of the file, with further tries after failures."""
    failures = 0
    while True:
        before = part.size
        try:
            _receive(part, size, known=known, progress=progress)
            return
        except _Changed:
            part.clear()
            error: Exception = DownloadError("the file on the server changes while it is downloaded")
            failures += 1
        except (_Interrupted, *CUT) as cut:
            error = cut
            failures = 0 if part.size > before else failures + 1
        except urllib.error.HTTPError as answer:
            if answer.code not in TRANSIENT:
                raise DownloadError(_refusal(part.url, answer)) from answer
            error, failures = answer, failures + 1
        except OSError as unreachable:  # that a file cannot be written is a DownloadError
            error, failures = unreachable, failures + 1
        if failures >= TRIES:
            raise DownloadError(
                f"{part.url}: expected the whole file, but the connection failed {failures} times in a row ({error}); "
                f"{part.size:,} bytes are kept, and the same command continues."
            ) from error
        time.sleep(min(pause * 2 ** max(failures - 1, 0), LONGEST_PAUSE))


def _receive(part: PartialFile, size: int | None, *, known: bool, progress: Progress) -> None:
    """Send one request, for the rest of the file or for all of it, and append the answer to the part."""
    headers = {"User-Agent": "purebench", "Accept-Encoding": "identity"}
    if part.size and (part.validator or known):
        if part.total is not None and part.size == part.total:
            return
        headers["Range"] = f"bytes={part.size}-"
        headers |= {"If-Range": part.validator} if part.validator else {}
    request = urllib.request.Request(part.url, headers=headers)
    try:
        opened = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as refused:
        if refused.code == 416:  # nothing of the file lies behind the part
            raise _Changed from refused
        raise
    with closing(opened) as answer:
        if part.url.startswith("https:") and not answer.geturl().startswith("https:"):
            raise DownloadError(f"{part.url}: expected an encrypted connection, but it leads to {answer.geturl()}.")
        if answer.status == 206:
            _check_range(part, answer)
        else:
            validator, total = _validator(answer), _total(part, answer)
            with _writing(part.path):
                part.restart(validator, total)
        if size is not None and part.total is not None and part.total != size:
            total = part.total
            _refuse_page(part, answer, answer.read(BEGINNING) if not part.size else b"")
            part.clear()
            raise DownloadError(
                f"{part.place.name}: expected {size:,} bytes, but the file at {part.url} has {total:,}: its authors "
                "have replaced it, or the address leads elsewhere; nothing was kept."
            )
        _check_space(part)
        _append(part, answer, progress)
    if part.total is not None and part.size < part.total:
        raise _Interrupted(f"{part.size:,} of {part.total:,} bytes came")
    wanted = part.total if size is None else size
    if wanted is not None and part.size != wanted:
        came = part.size
        part.clear()
        raise DownloadError(
            f"{part.place.name}: expected {wanted:,} bytes, but {came:,} came from {part.url}; nothing was kept."
        )


def _append(part: PartialFile, answer: http.client.HTTPResponse, progress: Progress) -> None:
    at_beginning = not part.size
    while chunk := answer.read(CHUNK):
        if at_beginning:
            _refuse_page(part, answer, chunk)
            at_beginning = False
        with _writing(part.path):
            part.append(chunk)
        progress(part.place.name, part.size, part.total)


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


def _check_range(part: PartialFile, answer: http.client.HTTPResponse) -> None:
    """Raise _Changed unless a partial answer continues the part."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != part.size:
        raise _Changed
    if found[2] != "*" and part.total is not None and int(found[2]) != part.total:
        raise _Changed
    stated = _validator(answer)
    if part.validator and stated and stated != part.validator:
        raise _Changed


def _total(part: PartialFile, answer: http.client.HTTPResponse) -> int | None:
    """Return the size of the whole file, None where the end of the answer marks its end."""
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise DownloadError(f"{part.url}: expected the file itself, but the server compresses it; download it by hand.")
    length = answer.headers.get("Content-Length")
    if length is None and not answer.chunked:
        raise DownloadError(
            f"{part.url}: expected a server that states the size of the file, but it does not, so that a truncated "
            "file could not be told; download it by hand."
        )
    return None if length is None else int(length)


def _validator(answer: http.client.HTTPResponse) -> str:
    """Return the entity tag, unless it is a weak one, or else the modification time."""
    tag = str(answer.headers.get("ETag") or "")
    return tag if tag and not tag.startswith("W/") else str(answer.headers.get("Last-Modified") or "")


def _refuse_page(part: PartialFile, answer: http.client.HTTPResponse, head: bytes) -> None:
    """Raise DownloadError for a web page or a pointer of Git LFS in place of the file."""
    page = answer.headers.get_content_type() in ("text/html", "application/xhtml+xml")
    kind = "a web page" if page else instead_of_file(head)
    if not kind:
        return
    part.clear()
    title = re.search(rb"<title[^>]*>([^<]{1,80})", head, re.IGNORECASE)
    called = f" ({' '.join(title[1].decode(errors='replace').split())})" if title else ""
    raise DownloadError(
        f"{part.url}: expected the file, but {kind} came{called}; the server may want a login or a click there. "
        f"Open the address in a browser, and save the file as {part.place}."
    )


def instead_of_file(head: bytes) -> str:
    """Return what a file with these first bytes is, if it is something that servers send instead; else ""."""
    if PAGE.match(head):
        return "a web page"
    return "a pointer of Git LFS" if head.startswith(POINTER) else ""


def _check_space(part: PartialFile) -> None:
    if part.total is not None and shutil.disk_usage(part.place.parent).free < part.total - part.size:
        raise DownloadError(
            f"{part.place}: expected {part.total - part.size:,} bytes of free space, but there are fewer; free some, "
            f"or {ELSEWHERE}."
        )


def _refusal(url: str, answer: urllib.error.HTTPError) -> str:
    if answer.code in LOGIN:
        return f"{url}: expected a public file, but the server wants a login or a permission ({answer.code})."
    if answer.code in (404, 410):
        return f"{url}: expected the file, but the server has none ({answer.code}); its authors may have moved it."
    return f"{url}: expected the file, but the server answers {answer.code} {answer.reason}."
