"""Tests that authors and notes of a challenge are inert in a terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace

import pytest

from purebench.leaderboards.evidence.challenge_table import COLUMNS, FORMATS, rows
from purebench.results.files.challenge_history import Bound, Decided, Submitted

BOUND = Bound(0.25, 0.1, 0.5, 0.95, 4, "gaffke")
EVENT = Submitted(1, "d", "plain", "A. Name", "a note", "f", 4, 0.03, 7, "2026-01-01T00:00:00+00:00")
DECIDED = Decided(1, "d", True, 0.001, 9, 1, 3, BOUND, BOUND, "e")
HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07",
    '=HYPERLINK("http://x",1)',
    "+1",
    "@sum",
    "-1",
    "\t=1",
    "a|b\n| c |",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1)) `code` *b*",
    "\\input{/etc/passwd} $x$ & % # _ {",
    "\u202eevil\u2066",
    "\r\nnext,row",
    '","quoted',
]


def test_the_cells() -> None:
    (row,) = rows([(EVENT, DECIDED)])
    assert dict(zip(COLUMNS, row, strict=True)) == {
        **{"k": "1", "date": "2026-01-01", "author": "A. Name", "images": "4", "p": "0.001", "level": "0.03"},
        **{"result": "accepted", "best known, %": "25.0 [10.0, 50.0]", "note": "a note"},
    }
    (refused,) = rows([(EVENT, replace(DECIDED, accepted=False, after=None))])
    assert refused[6:8] == ["not accepted", "–"]
    assert rows([(EVENT, None)])[0][4:8] == ["–", "0.03", "not decided", "–"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_authors_and_notes_are_inert(text: str) -> None:
    submissions = [(replace(EVENT, author=text, note=text), DECIDED)]
    (cells,) = rows(submissions)
    assert all(one.isprintable() and "\u202e" not in one for one in cells)
    markdown = FORMATS[".md"](submissions)
    (*_, line) = markdown.splitlines()
    assert len(markdown.splitlines()) == 3
    assert len(re.findall(r"(?<!\\)\|", line)) == len(COLUMNS) + 1
    assert not re.search(r"(?<!\\)[<>`\[\]]", line.replace("25.0 \\[10.0, 50.0\\]", ""))
    latex = FORMATS[".tex"](submissions)
    body = latex.split("\\midrule\n")[1].split("  \\bottomrule")[0]
    assert body.count("\n") == 1
    assert len(re.findall(r"(?<!\\)&", body)) == len(COLUMNS) - 1
    assert "\\input" not in body
    assert not re.search(r"(?<!\\)[$%#]", body)
    table = list(csv.reader(io.StringIO(FORMATS[".csv"](submissions))))
    assert [len(row) for row in table] == [len(COLUMNS)] * 2
    assert not any(one.lstrip().startswith(("=", "+", "-", "@", "\t", "\r")) for one in table[1])
    written = FORMATS[".json"](submissions)
    assert written.isascii()
    assert "\x1b" not in written
    (told,) = json.loads(written)
    assert (told["submitted"]["author"], told["submitted"]["note"]) == (text, text)
    assert told["decided"]["after"]["value"] == 0.25
