"""Defines the description of a submission, `entry.yaml`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, Field

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import MEBIBYTE, read_text, shown
from purebench.core.files.validation_errors import told
from purebench.core.files.versioned_model import StrictModel, from_plain, require_version
from purebench.core.terminal_output import printable

SCHEMA: Final = 1
ADDRESS = re.compile(r"https?://[^\s<>\"'`\\]+")


def _one_line(text: str) -> str:
    """Return text without control characters and marks of direction. Raises an error for other text."""
    if printable(text) != text or text != text.strip():
        raise told(f"expected a line of text without control characters, but got {shown(text)}")
    return text


def _address(text: str) -> str:
    """Return an address of the web, or "". Raises an error for other text."""
    if text and not ADDRESS.fullmatch(text):
        raise told(f"expected an address that begins with https:// or http://, but got {shown(text)}")
    return text


Words = Annotated[str, Field(max_length=300), AfterValidator(_one_line)]
"""A short line of text; it is shown as it is, and never as markup."""
Note = Annotated[str, Field(max_length=2_000), AfterValidator(_one_line)]
Address = Annotated[str, Field(max_length=500), AfterValidator(_address)]


class Entry(StrictModel):
    """The contents of `entry.yaml`.

    Attributes:
        board: name of the board.
        row: name of the defense on the board.
        bundle: "sha256:" and the sha256 of the bundle.
        title: title of the paper, or of the defense.
        authors: the authors.
        paper: address of the paper; "" if there is none.
        venue: where it was published; "" if it was not.
        year: year of publication; None if it was not published.
        code: address of the code; "" if there is none.
        licence: licence of code and weights; "" if it is not stated.
        note: a remark for readers.
        schema_version: version of this schema.
    """

    board: Words
    row: Words
    bundle: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    title: Annotated[Words, Field(min_length=1)]
    authors: Annotated[list[Annotated[Words, Field(min_length=1)]], Field(min_length=1, max_length=100)]
    paper: Address = ""
    venue: Words = ""
    year: Annotated[int, Field(ge=1990, le=2100)] | None = None
    code: Address = ""
    licence: Words = ""
    note: Note = ""
    schema_version: Literal[1] = Field(SCHEMA, alias="schema")

    def to_yaml(self) -> str:
        """Return the text of `entry.yaml`."""
        return yaml.safe_dump(self.model_dump(by_alias=True), sort_keys=False, allow_unicode=True, width=100)


def entry_of(plain: Any, place: str = "entry") -> Entry:
    """Return an entry from plain values.

    Args:
        plain: the values.
        place: their source, for messages.

    Raises:
        PurebenchError: they do not match the schema.
    """
    return from_plain(Entry, plain, place)


def read_entry(path: Path) -> Entry:
    """Read an `entry.yaml`.

    Raises:
        PurebenchError: the file cannot be read, is of another version, or does not match the schema.
    """
    try:
        plain = load_yaml(read_text(path, MEBIBYTE))
        if isinstance(plain, dict):
            require_version(plain, SCHEMA, "write the submission again (purebench submit)")
        return entry_of(plain)
    except PurebenchError as error:
        text = str(error)
        raise PurebenchError(text if text.startswith(str(path)) else f"{path}: {text}") from error
