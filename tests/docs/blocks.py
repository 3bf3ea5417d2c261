"""Reads the fenced blocks of README and docs, and the marks of blocks that take too long to run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- parsed only: (\S.*?) -->\s*\Z")
"""Comment above a block that is parsed but not run, with the reason."""
CHECKED = ("sh", "python", "yaml", "toml")
INLINE = re.compile(r"(?<!`)`((?:purebench|make|python -m \w+|python benchmarks/\S+) [^`\n]+)`(?!`)")
"""A command within a sentence."""
SHOWN = ("text", "")
"""Languages of blocks that are output, not input."""


@dataclass(frozen=True)
class Block:
    """A fenced block. line: line of its fence in the page; why: the reason it is not run, empty if it is run."""

    page: Path
    line: int
    language: str
    text: str
    why: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def file(self) -> str:
        """The file name in a comment on the first line of the block; empty if there is none."""
        found = re.match(r"# ([\w.-]+\.(?:py|yaml))\n", self.text)
        return found.group(1) if found else ""

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command of a shell block, without comments."""
        joined = self.text.replace("\\\n", " ")
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    """Returns the blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match.group(1), match.group(2), mark.group(1) if mark else ""))
    return found


def sentences(page: Path) -> list[list[str]]:
    """Returns the words of the commands within the sentences of a page."""
    return [shlex.split(command) for command in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))]
