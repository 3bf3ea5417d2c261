"""Serves a site on this machine only, for a preview before it is published."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from purebench.core.errors import PurebenchError

HOST = "127.0.0.1"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing for a request."""


def site_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the folder that only this machine reaches.

    Args:
        folder: the site.
        port: the port; 0 for any free one.

    Raises:
        PurebenchError: the folder has no index, or the port is in use.
    """
    if not (folder / "index.html").is_file():
        raise PurebenchError(
            f"{folder}: expected a site, but there is no index.html; run `purebench site build` first."
        )
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Quiet, directory=str(folder)))
    except OSError as error:
        raise PurebenchError(f"--port: {port} cannot be used ({error.strerror or error}); choose another.") from error
