"""A local HTTP server of files with faults on request: redirects, truncation, changed files, no ranges."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from purebench.core.files.download import download

DATA = bytes(range(256)) * 20_000  # five megabytes, so that several chunks are read
SHA = hashlib.sha256(DATA).hexdigest()


@dataclass
class Served:
    """A file and the faults of the server for it.

    Attributes:
        data: the content.
        etag: the entity tag; empty for none.
        kind: the content type.
        ranges: whether parts are served.
        cut: for each request in turn, the bytes after which the connection ends; None for all.
        status: for each request in turn, an HTTP status in place of the file; None for the file.
        redirect: the address of another file; empty for none.
        length: whether the size is stated.
        chunked: whether the answer is chunked, without a size.
        ignore_if_range: whether parts are served although the file has changed.
        late: bytes after the requested beginning at which a part begins.
        most: most bytes of a part; None for all.
        unasked: whether a part is sent to requests for the whole file.
        headers: headers in place of the right ones of a part, or of the file if no parts are served.
    """

    data: bytes = b""
    etag: str = ""
    kind: str = "application/octet-stream"
    ranges: bool = True
    cut: list[int | None] = field(default_factory=list)
    status: list[int | None] = field(default_factory=list)
    redirect: str = ""
    length: bool = True
    chunked: bool = False
    ignore_if_range: bool = False
    late: int = 0
    most: int | None = None
    unasked: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FileServer:
    """The server: its files by path, and the (path, Range header) of each request."""

    url: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    """Answers a request as the served file says."""

    state: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        self.state.asked.append((self.path, self.headers.get("Range", "")))
        file = self.state.files.get(self.path)
        self.close_connection = True
        if file is None:
            self.send_error(404)
            return
        refused = file.status.pop(0) if file.status else None
        if refused is not None:
            self.send_error(refused)
            return
        if file.redirect:
            self.send_response(302)
            self.send_header("Location", file.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self._start(file)
        if start is not None and start >= len(file.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(file.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(file, start)

    def _start(self, file: Served) -> int | None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range", "")
        changed = bool(condition) and condition != file.etag and not file.ignore_if_range
        return int(found[1]) + file.late if found and file.ranges and not changed else None

    def _send(self, file: Served, start: int | None) -> None:
        if file.unasked and start is None:
            start = 0
        body = file.data[start or 0 :][: None if start is None else file.most]
        self.send_response(200 if start is None else 206)
        headers = {"Content-Type": file.kind}
        if file.etag:
            headers["ETag"] = file.etag
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(file.data)}"
        if file.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif file.length:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
        for name, value in {**headers, **(file.headers if start is not None or not file.ranges else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        most = file.cut.pop(0) if file.cut else None
        sent = body if most is None else body[:most]
        if file.chunked:
            self.wfile.write(f"{len(body):x}\r\n".encode() + sent)
            if most is None:
                self.wfile.write(b"\r\n0\r\n\r\n")
        else:
            self.wfile.write(sent)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that was killed closes its connection."""


@contextmanager
def serving() -> Iterator[FileServer]:
    """Serve files on a free port of this machine."""
    state = FileServer()
    handler = type("Handler", (_Handler,), {"state": state})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(server: FileServer, place: Path, **known: object) -> str:
    return download(f"{server.url}/a", place, pause=0.001, **known)  # type: ignore[arg-type]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
