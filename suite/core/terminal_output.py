"""Prints text on terminals safely: control characters are escaped, and encodings and closed pipes raise no errors."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing, so that the text that is displayed differs from the text that is
there."""
HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that are escaped: control characters, halves of surrogates, line separators."""
PLAIN = str.maketrans(
    {
        **dict.fromkeys("─╌━╸╺–—−", "-"),
        **dict.fromkeys("├┤│┃", "|"),
        **dict.fromkeys("●•", "*"),
        **dict.fromkeys("“”„", '"'),
        **dict.fromkeys("‘’‚", "'"),
        "○": "o",
        "⚠": "!",
        "†": "+",
        "·": ".",
        "±": "~",
        "≤": "<",
        "≥": ">",
        "∞": "inf",
        "…": "...",
        "→": "->",
        "∇": "grad",
        "\u00a0": " ",
    }
)
"""ASCII replacements of our own symbols, for terminals that lack them."""
ERRORS = "purebench-plain"
"""The name of the error handler for characters that an encoding lacks."""


def printable(text: str, *, lines: bool = False) -> str:
    r"""Return the text with control characters and direction marks written as escapes.

    Args:
        text: any text, such as a title or a reason from a third party's file.
        lines: whether line breaks and tabs stay as they are.

    Examples:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    kept = "\n\t" if lines else ""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in kept or not _hidden(one) else _escape(one) for one in text)


def _hidden(one: str) -> bool:
    return one in DIRECTIONS or unicodedata.category(one) in HIDDEN


def _escape(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


class _Escaping(RenderHook):
    """A render hook that escapes everything that a console prints."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Escaped(one) for one in renderables]


class _Escaped:
    """A renderable whose text is escaped; the control codes that rich itself adds are not changed."""

    def __init__(self, inner: ConsoleRenderable):
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.inner, options):
            if segment.control:
                yield segment
            else:
                yield Segment(printable(segment.text, lines=True), segment.style)


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a rich console that escapes what it prints (see `printable`).

    Args:
        stderr: whether it prints on stderr instead of stdout.
        width: the number of columns; None for that of the terminal.
    """
    console = Console(stderr=stderr, width=width)
    console.push_render_hook(_Escaping())
    return console


def complain(lines: str | Iterable[str]) -> None:
    """Print one or several lines on stderr, escaped."""
    for line in [lines] if isinstance(lines, str) else lines:
        print(printable(line), file=sys.stderr, flush=True)


class _Pipe(io.FileIO):
    """A stream that discards what is written after the reader has closed the pipe, as `| head` does."""

    def write(self, data: Any) -> int:
        try:
            return int(super().write(data) or 0)
        except BrokenPipeError:
            return len(data)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Handle an encoding error: our own symbols are replaced by ASCII, all other characters by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for one in error.object[error.start : error.end]:
        instead = one.translate(PLAIN)
        found.append(instead if instead.isascii() else _escape(one))
    return "".join(found), error.end


def open_streams() -> None:
    """Make stdout and stderr accept any text: unknown characters are replaced, and a closed pipe is not an error."""
    codecs.register_error(ERRORS, _plain)
    sys.stdout, sys.stderr = _reopened(sys.stdout), _reopened(sys.stderr)


def _reopened(stream: TextIO) -> TextIO:
    """Return the stream over `_Pipe`; streams of tests or notebooks are returned unchanged."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        number = stream.fileno()
        stream.flush()
    except (OSError, ValueError):
        return stream
    raw = io.BufferedWriter(_Pipe(number, "w", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, ERRORS, line_buffering=stream.line_buffering or stream.isatty())
