"""Tests that faults of a YAML file are reported in plain words, with their line."""

from __future__ import annotations

import pytest

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: c: d\n", "line 2: expected YAML, but there is a second colon"),
        ("a:\n\tb: 1\n", "line 2: expected YAML, but a value begins with a character that is not permitted"),
        ("a: 1\nb\nc: 2\n", "line 2: expected YAML, but a key has no colon"),
        ("a: 'x\nb: 1\n", "line 1: expected YAML, but a quotation mark is not closed"),
        ("a: [1, 2\nb: 1\n", "line 1: expected YAML, but a bracket or a brace is not closed, or a comma is missing"),
        ("a:\n  b: 1\n c: 2\n", "line 3: expected YAML, but the indentation of the line differs"),
        ("a:\n  - 1\n  b: 2\n", "line 3: expected YAML, but the indentation of the line differs"),
        ("a: @x\n", "line 1: expected YAML, but a value begins with a character that is not permitted"),
    ],
)
def test_errors_are_in_plain_words(text: str, message: str) -> None:
    with pytest.raises(PurebenchError) as found:
        load_yaml(text)
    assert str(found.value).startswith(message)
    for word in ("block", "token", "scanning", "unicode string"):
        assert word not in str(found.value)
