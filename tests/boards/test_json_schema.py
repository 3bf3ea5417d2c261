"""Tests of the JSON schema of board.yaml: the committed file is current, boards name it, and the parser agrees."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from purebench.boards.bundled import bundled
from purebench.boards.parse import load_board, parse_board
from purebench.boards.schema import BoardSchema
from purebench.cli.main import app
from purebench.cli.skeleton import write
from purebench.core.errors import PurebenchError

COMMITTED = Path(__file__).resolve().parents[2] / "leaderboards" / "boards" / "board.schema.json"
SCHEMA = json.loads(COMMITTED.read_text(encoding="utf-8"))
GOOD: dict[str, Any] = {
    "name": "small",
    "dataset": {"use": "fashion-mnist", "images": 20, "block": 8},
    "classifier": "fashion-resnet",
    "threat": {"norm": "linf", "radius": "8/255"},
    "attacks": {"clean": {"use": "clean"}, "apgd": {"use": {"apgd": {"steps": 3}}, "gradient": "exact"}},
    "defenses": {"none": "none", "noise": "gaussian-noise(sigma=0.1)"},
}


def changed(*path: str, to: Any) -> dict[str, Any]:
    board = copy.deepcopy(GOOD)
    place = board
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return board


def fits(board: Any) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid(board))


def test_the_command_prints_the_committed_schema() -> None:
    printed = CliRunner().invoke(app, ["schema"]).output
    assert json.loads(printed) == SCHEMA, "run: purebench schema > leaderboards/boards/board.schema.json"
    Draft202012Validator.check_schema(SCHEMA)


def test_every_field_has_a_description() -> None:
    def properties(schema: Any) -> Iterator[tuple[str, Any]]:
        yield from schema["properties"].items()
        for part in schema.get("$defs", {}).values():
            yield from part["properties"].items()

    every = list(properties(SCHEMA))
    assert len(every) > len(BoardSchema.model_fields)
    assert [name for name, field in every if not field.get("description")] == []


@pytest.mark.parametrize("path", bundled().values(), ids=bundled())
def test_bundled_boards_match_the_schema_named_in_their_first_line(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named is not None
    assert (path.parent / named[1]).resolve() == COMMITTED.resolve()
    assert fits(yaml.safe_load(text))


@pytest.mark.parametrize("kind", ["defense", "attack"])
def test_a_new_board_matches_the_schema_written_next_to_it(kind: str, tmp_path: Path) -> None:
    *_, schema, board = write(kind, "mine", tmp_path / "mine")
    text = board.read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={schema.name}\n")
    assert json.loads(schema.read_text(encoding="utf-8")) == SCHEMA
    assert fits(yaml.safe_load(text))


def test_the_schema_comment_does_not_change_a_board(tmp_path: Path) -> None:
    text = yaml.safe_dump(GOOD, sort_keys=False)
    for name, first in (("with.yaml", "# yaml-language-server: $schema=board.schema.json\n"), ("without.yaml", "")):
        (tmp_path / name).write_text(first + text, encoding="utf-8")
    assert load_board(tmp_path / "with.yaml") == load_board(tmp_path / "without.yaml") == parse_board(GOOD)


@pytest.mark.parametrize(
    "board",
    [
        GOOD,
        {"schema": 1, **GOOD},
        changed("title", to=5),
        changed("threat", to={"norm": "l2", "eps": 1}),
        changed("stop", to={"half_width": 0.02}),
        changed("attacks", "apgd", "gradient", to={"bpda-learned": {"steps": 3}}),
        changed("classifier", to={"fashion-resnet": None}),
    ],
)
def test_boards_accepted_by_the_parser_match_the_schema(board: Any) -> None:
    parse_board(board)
    assert fits(board)


@pytest.mark.parametrize(
    "board",
    [
        changed("treat", to=1),
        changed("schema", to=2),
        changed("name", to="Has Spaces"),
        changed("confidence", to=95),
        changed("dataset", "images", to=0),
        changed("dataset", "block", to="many"),
        changed("threat", "norm", to="l3"),
        changed("threat", to={"norm": "l2"}),
        changed("threat", to={"norm": "l2", "radius": 1, "eps": 1}),
        changed("threat", "radius", to=0),
        changed("attacks", to={}),
        changed("attacks", "apgd", to={"use": "apgd", "only": "determinstic"}),
        changed("attacks", "apgd", to={"gradient": "exact"}),
        changed("attacks", "a b", to={"use": "apgd"}),
        changed("defenses", "noise", to={"gaussian-noise": {}, "vae": {}}),
        changed("defenses", "noise", to=3),
        changed("stop", to={"half_width": 0.5}),
    ],
)
def test_boards_rejected_by_the_schema_are_rejected_by_the_parser(board: Any) -> None:
    assert not fits(board)
    with pytest.raises(PurebenchError):
        parse_board(board)
