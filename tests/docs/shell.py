"""Checks commands in the docs: the program itself parses the arguments, and names must be known.

A command without a rule fails, so that every command is checked.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import typer
import typer.core

from purebench.boards.bundled import find_board
from purebench.boards.selection import choose
from purebench.checks.sweeps.definition import families_of, read_sweep, sweep_file
from purebench.cli.listing import ABOUT
from purebench.cli.main import app
from purebench.core import registry
from purebench.core.registry import Spec

from blocks import ROOT  # isort: skip

PLACEHOLDER = re.compile("[A-Z]+")
TINY = {
    "run": ["--images", "2", "--workers", "1"],
    "try": ["--seconds", "15"],
    "sweep": ["--images", "2", "--workers", "1"],
    "break": ["--evaluations", "1", "--images", "2", "--confirm", "2", "--search", "random"],
}
"""Options added to commands in the docs."""


def check(words: Sequence[str], *, run: bool) -> None:
    """Parses a command and, with `run`, runs it with tiny settings. Raises an error for an invalid command."""
    name, rest = program(words)
    if name == "purebench":
        purebench(rest, run=run)
    elif name == "make":
        subprocess.run(["make", "-n", *rest], cwd=ROOT, check=True, capture_output=True)
    elif name == "pip":
        pip(rest)
    elif name == "pytest":
        pytest_options(rest)
    elif name == "mkdocs":
        from mkdocs.__main__ import cli

        parsed(cli, rest)
    elif name.startswith("benchmarks/") and name.endswith(".py"):
        benchmark(ROOT / name, rest)
    elif str(words[0]).startswith("benchmarks/"):
        assert (ROOT / words[0]).is_file(), f"{words[0]} is no file"
    elif str(words[0]).startswith("tools/"):
        tool(ROOT / words[0], rest)
    elif name == "cd":
        assert len(rest) == 1
    else:
        raise AssertionError(f"there is no rule for the command {name!r}")


def program(words: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the program of a command and its arguments; of a module or script, those without the interpreter."""
    name, rest = Path(words[0]).name, list(words[1:])
    if name not in ("python", "python3"):
        return name, rest
    if rest[:2] == ["-m", "cProfile"]:
        rest = rest[next(place for place, word in enumerate(rest) if word.endswith(".py")) :]  # what is profiled
    if rest[0] == "-m":
        rest = rest[1:]
    return rest[0], rest[1:]


def tool(script: Path, rest: list[str]) -> None:
    assert script.is_file()
    if script.name == "gpu.sh":
        benchmark(ROOT / "tools" / "gpu.py", rest)
    else:
        assert len(rest) == 1


def parsed(command: Any, words: list[str]) -> list[Any]:
    """Returns the contexts of a command and its sub-commands. Raises a usage error of click for invalid arguments."""
    context = command.make_context(command.name or "command", words, resilient_parsing=False)
    contexts = [context]
    while isinstance(context.command, click.Group | typer.core.TyperGroup):  # typer may bundle its own copy of click
        name, inner, left = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert inner is not None
        context = inner.make_context(name, left, parent=context)
        contexts.append(context)
    return contexts


def purebench(words: list[str], *, run: bool) -> None:
    if any(PLACEHOLDER.fullmatch(word) for word in words):
        options_are_known(words)
        return
    if words == ["--help"] or words[1:] == ["--help"]:
        assert words[0] == "--help" or words[0] in app_command().commands
        return
    contexts = parsed(app_command(), list(words))
    names_are_known(" ".join(str(context.info_name) for context in contexts[1:]), contexts[-1].params)
    if run:
        with contextlib.redirect_stdout(io.StringIO()):
            tiny = ["--workers", "1"] if "--plan" in words else TINY.get(words[0], [])
            app(words + tiny, standalone_mode=False)


def options_are_known(words: list[str]) -> None:
    """Checks the sub-commands and options of a command with placeholders such as NAME or FOLDER."""
    command = app_command()
    for word in words:
        if not hasattr(command, "commands"):
            break
        assert word in command.commands, word
        command = command.commands[word]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def app_command() -> Any:
    return typer.main.get_command(app)


def names_are_known(command: str, params: dict[str, Any]) -> None:
    """Raises PurebenchError or AssertionError for an unknown board, defense, recipe or group."""
    if command == "run" and params["plan"] is not None:
        return  # the plan file names the board
    if command == "run":
        board = choose(params["board"] or params["named"], params["defense"], params["images"], radius=params["radius"])
        for row in board.defenses:
            registry.factory("defenses", row.use.name)
    elif command == "show":
        assert params["board"] is None or find_board(params["board"])
    elif command == "list":
        assert params["what"] in (None, *ABOUT)
    elif command == "train":
        registry.factory("recipes", Spec.parse(params["name"]).name)
    elif command == "sweep" and params["defense"]:
        assert find_board(params["board"])
        for one in families_of(params["defense"]):
            registry.factory("defenses", Spec.parse(one.strengths[0].text).name)
    elif command == "sweep":
        path = sweep_file(params["board"])
        assert path
        sweep = read_sweep(path)
        sweep.only(params["family"] or [one.name for one in sweep.families])
    elif command in ("inspect", "tune", "try", "break"):
        assert find_board(params["board"])
        registry.factory("defenses", Spec.parse(params["defense"]).name)


def pip(words: list[str]) -> None:
    """Accepts `pip install` with existing extras only."""
    assert words[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words[1:]:
        name, _, extras = word.partition("[")
        assert name in (".", "purebench") or word in ("-e", "--editable", "-U", "--upgrade"), word
        for extra in extras.rstrip("]").split(",") if extras else ():
            assert extra in project["optional-dependencies"], word


@cache
def options_of_pytest() -> str:
    return subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True, check=True).stdout


def pytest_options(words: list[str]) -> None:
    for word in words:
        assert not word.startswith("-") or word.partition("=")[0] in options_of_pytest(), word


class Parsed(Exception):
    """Raised when a benchmark has parsed its command line."""


def benchmark(path: Path, words: list[str]) -> None:
    """Lets a benchmark parse its arguments and stops it before it runs."""
    with patch.object(sys, "path", [str(path.parent), *sys.path]), parsing_only():
        try:
            importlib.import_module(path.stem).main(words)
        except Parsed:
            return
    raise AssertionError(f"{path.name} did not parse {words}")


@contextlib.contextmanager
def parsing_only() -> Iterator[None]:
    whole = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, *words: Any, **more: Any) -> Any:
        whole(self, *words, **more)
        raise Parsed

    with patch.object(argparse.ArgumentParser, "parse_args", parse):
        yield
