"""Reads what a server states about a file in its answer, and finds answers that are not the file."""

from __future__ import annotations

import codecs
import http.client
import re
import unicodedata

from purebench.core.errors import PurebenchError

BEGINNING = 1024
"""Bytes at the beginning of a file that show whether it is text."""
MARKUP = re.compile(rb"(\xef\xbb\xbf)?\s*(<!doctype html|<html|<\?xml|<!--)", re.IGNORECASE)
POINTER = b"version https://git-lfs"
PAGES = ("text/html", "application/xhtml+xml")
JSON = re.compile(r"application/([\w.-]+\+)?json")
RANGE = re.compile(r"bytes (?P<start>\d{1,18})-(?P<end>\d{1,18})/(?P<total>\d{1,18})")


class DownloadError(PurebenchError):
    """A file could not be downloaded, or is not the one that was expected."""


def stated_size(url: str, answer: http.client.HTTPResponse) -> int | None:
    """Return the size of an answer in bytes, None if it is chunked, so that its last chunk marks its end.

    Raises:
        DownloadError: It is compressed, empty or of no known end, so that a truncated file could not be told.
    """
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DownloadError(f"{url}: expected the file itself, but the server compresses it; download it by hand.")
    if answer.chunked:
        return None
    length = answer.headers.get("Content-Length", "none")
    if not re.fullmatch(r"\d{1,18}", length) or "Transfer-Encoding" in answer.headers:
        raise DownloadError(
            f"{url}: expected a server that states the size of the file, but got the size {length}, so that a "
            "truncated file could not be told; download it by hand."
        )
    if not int(length):
        raise DownloadError(f"{url}: expected the file, but the server sends an empty one; download it by hand.")
    return int(length)


def stated_part(answer: http.client.HTTPResponse) -> tuple[int, int, int] | None:
    """Return start, end (exclusive) and the size of the whole file from an answer with a part of it.

    None if the answer does not state all three, or if they contradict each other.
    """
    found = RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None:
        return None
    start, end, total = int(found["start"]), int(found["end"]) + 1, int(found["total"])
    return (start, end, total) if start < end <= total else None


def strong_tag(answer: http.client.HTTPResponse) -> str:
    """Return the entity tag if it changes with every byte of the file; else an empty text."""
    tag = str(answer.headers.get("ETag") or "")
    return "" if tag.startswith("W/") else tag


def instead_of_file(head: bytes, kind: str = "") -> str:
    """Return what came in place of a published file, all of which are binary; empty if it may be the file.

    Args:
        head: The first bytes, at least BEGINNING of them if there are so many.
        kind: The content type that the server states; empty if it is not known.
    """
    if kind in PAGES or MARKUP.match(head):
        return "a web page"
    if JSON.fullmatch(kind):
        return "a JSON text"
    if head.startswith(POINTER):
        return "a pointer of Git LFS"
    if not head:
        return "an empty file"
    return "a text" if _is_text(head[:BEGINNING]) else ""


def _is_text(head: bytes) -> bool:
    """Return whether bytes are text in UTF-8 without control characters; the last character may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not any(unicodedata.category(one) == "Cc" and not one.isspace() for one in text)
