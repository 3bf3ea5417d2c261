"""Parses YAML files of plain values that may come from untrusted sources.

The values are built from the parser's events, so that duplicate keys are errors, and size, nesting and aliases are
limited before anything is built. Accepted are mappings with text keys, lists, text, numbers, true, false, null, anchors
and `<<`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.nodes import ScalarNode
from yaml.resolver import Resolver

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown

MOST_VALUES = 20_000
"""Most values of one document; those behind aliases count each time."""
DEEPEST = 50
LONGEST_NUMBER = 40
LARGEST = 2**63 - 1
_TAG = "tag:yaml.org,2002:"
_NUMBER = re.compile(r"[-+]?[0-9.][0-9a-fA-FxXobOB_.:eE+-]*")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


def load_yaml(text: str) -> Any:
    """Parse a YAML document into plain values.

    Raises:
        PurebenchError: it is not YAML, or contains something that is not accepted; the message contains the line.
    """
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER)).document()
    except (yaml.YAMLError, RecursionError) as error:
        raise PurebenchError(f"{_plain(error)}{_quotes(error, text) or '.'}") from error


PLAIN = {
    "mapping values are not allowed": "there is a second colon in a line, or the line is indented too far; put text "
    "with a colon in quotes, or correct the indentation",
    "could not find expected ':'": "a key has no colon; write KEY: VALUE",
    "cannot start any token": "a value begins with a character that is not permitted there, such as a tab, @ or `; "
    "indent with spaces, and put such text in quotes",
    "found unexpected end of stream": "a quotation mark is not closed; close it",
    "',' or '": "a bracket or a brace is not closed, or a comma is missing; add it",
    "did not find expected key": "the indentation of the line differs from that of the lines above, or text follows a "
    "closing quotation mark; correct it",
    "did not find expected '-' indicator": "the indentation of the line differs from that of the list; correct it",
    "<block end>": "the indentation of the line differs from that of the lines above; correct it",
    "did not find expected node content": "a value is missing in a list or mapping; add it",
    "special characters are not allowed": "it contains characters that cannot be printed; remove them",
    "control characters are not allowed": "it contains characters that cannot be printed; remove them",
}
"""The fault and its cure in plain words, by a part of the parser's message."""


AT_BEGINNING = ("could not find expected ':'", "unexpected end of stream", "',' or '")
"""Faults that the parser finds behind their line: the line in which the key, text or bracket begins is named."""


def _plain(error: Exception) -> str:
    """Return the parser's error in plain words, with its line."""
    problem = str(getattr(error, "problem", None) or error)
    mark = getattr(error, "problem_mark", None)
    if any(part in problem for part in AT_BEGINNING):
        mark = getattr(error, "context_mark", None) or mark
    known = next((words for part, words in PLAIN.items() if part in problem), "")
    told = known or " ".join(problem.split())[:500]
    return f"{'' if mark is None else f'line {mark.line + 1}: '}expected YAML, but {told}"


def _quotes(error: Exception, text: str) -> str:
    """Return the cure for a spec without quotes in braces, such as {use: vote(alphas=[0.1, 0.2])}, else nothing."""
    mark = getattr(error, "problem_mark", None)
    line = "" if mark is None else next(iter(text.splitlines()[mark.line : mark.line + 1]), "")
    found = re.search(r"\w\([^'\"]*$", line[: mark.column]) if mark is not None and "flow" in str(error) else None
    return (
        "; put a spec with commas, brackets or colons in quotes, as in {use: 'apgd(steps=5, loss=ce)'}."
        if found
        else ""
    )


class _Merge:
    """Marks the key `<<`."""


class _Builder:
    def __init__(self, events: Iterator[Any]):
        self.events = events
        self.resolver: Any = Resolver()
        self.constructor = SafeConstructor()
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.values = 0

    def document(self) -> Any:
        """Return the only document; None if there is none."""
        next(self.events)  # the stream's start
        if isinstance(next(self.events), StreamEndEvent):
            return None
        value = self._value(next(self.events), 0)
        next(self.events)  # the document's end
        if isinstance(more := next(self.events), DocumentStartEvent):
            raise _error(more, "expected one document, but a second one begins here; remove it")
        return None if value is _Merge else value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise _error(
                    event,
                    f"expected an alias of an anchor above it, but *{event.anchor} has no anchor; define "
                    f"&{event.anchor} above",
                )
            value, size = self.anchors[event.anchor]
            self._count(event, size)
            return value
        if event.tag is not None:
            raise _error(event, f"expected plain values, but got the tag {shown(event.tag)}; remove it")
        if depth > DEEPEST:
            raise _error(event, f"expected at most {DEEPEST} levels, but it is nested more deeply")
        before = self.values
        self._count(event, 1)
        if isinstance(event, ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, SequenceStartEvent):
            value = self._list(depth)
        else:
            value = self._mapping(depth, flow=event.flow_style)
        if event.anchor is not None:
            self.anchors[event.anchor] = value, self.values - before
        return value

    def _count(self, event: Any, size: int) -> None:
        self.values += size
        if self.values > MOST_VALUES:
            raise _error(event, f"expected at most {MOST_VALUES:,} values, but there are more")

    def _list(self, depth: int) -> list[Any]:
        made = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            value = self._value(event, depth + 1)
            made.append("<<" if value is _Merge else value)
        return made

    def _mapping(self, depth: int, *, flow: bool) -> dict[str, Any]:
        own: dict[Any, Any] = {}
        cut = ""  # of a spec without quotes in braces, whose comma ended the value
        merged: dict[str, Any] = {}
        lines: dict[Any, int] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self._value(event, depth + 1)
            if not isinstance(key, str) and key is not _Merge:
                raise _error(event, f"expected text as a key, but got {shown(key)}; put it in quotes")
            line = event.start_mark.line + 1
            if key in lines:
                name = "'<<'" if key is _Merge else shown(key)
                raise _error(
                    event, f"expected each key once, but got {name} again (first in line {lines[key]}); remove one"
                )
            lines[key] = line
            value = self._value(following := next(self.events), depth + 1)
            value = "<<" if value is _Merge else value
            cut = _joined(cut, event, following) if flow else ""
            if cut and _closed(cut):
                quote = '"' if "'" in cut else "'"
                told = f"expected quotes around a value with commas in braces, but got {cut}"
                raise _error(event, f"{told}; write {quote}{cut}{quote}")
            if key is _Merge:
                merged = self._merged(following, value)
            else:
                own[key] = value
        return merged | own

    def _merged(self, event: Any, value: Any) -> dict[str, Any]:
        """The mapping, or the list of mappings, behind `<<`; of a list, the first mapping wins."""
        made: dict[str, Any] = {}
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                raise _error(event, f"expected a mapping after <<, but got {shown(part)}")
            self._count(event, len(part))
            made = part | made
        return made

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if not event.implicit[0]:  # quoted, or a block scalar
            return self._text(event)
        if len(text) > LONGEST_NUMBER:  # too long for a word or a number
            if _NUMBER.fullmatch(text):
                raise _error(event, f"expected numbers of at most {LONGEST_NUMBER} characters, but got {len(text)}")
            return self._text(event)
        tag = self.resolver.resolve(ScalarNode, text, (True, False)).removeprefix(_TAG)
        if tag == "merge":
            return _Merge
        if tag == "timestamp":
            raise _error(event, f"expected text or a number, but {shown(text)} is a date in YAML; put it in quotes")
        build = {
            "int": self.constructor.construct_yaml_int,
            "float": self.constructor.construct_yaml_float,
            "bool": self.constructor.construct_yaml_bool,
            "null": self.constructor.construct_yaml_null,
        }.get(tag)
        if build is None or ":" in text:  # 4:30 is text, not a base-60 number
            return self._text(event)
        try:
            value = build(ScalarNode(_TAG + tag, text))
        except ValueError as error:
            raise _error(event, f"expected a number, but got {shown(text)}; put it in quotes") from error
        if isinstance(value, int) and abs(value) > LARGEST:
            raise _error(event, f"expected whole numbers below 2^63, but got {shown(text)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise _error(event, f"expected finite numbers, but got {shown(text)}")
        return value

    def _text(self, event: Any) -> str:
        text: str = event.value
        if not text.isascii() and any(0xD800 <= ord(letter) < 0xE000 for letter in text):
            raise _error(event, "expected text, but got half of a surrogate pair")
        return text


def _joined(cut: str, key: Any, value: Any) -> str:
    """Return the text of a plain value that lacks a closing bracket, or that text with a key behind it; else none."""
    if not isinstance(value, ScalarEvent) or not value.implicit[0]:
        return ""
    if not value.value:
        return f"{cut}, {key.value}" if cut else ""
    return "" if _closed(value.value) else value.value


def _closed(text: str) -> bool:
    return text.count("(") <= text.count(")")


def _error(event: Any, told: str) -> PurebenchError:
    return PurebenchError(f"line {event.start_mark.line + 1}: {told}.")
