"""Describes a registered name: its docstring, its parameters with defaults, the declared properties of a defense."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rich.console import Console
from rich.table import Table
from rich.text import Text

from purebench.attacks.catalogue import LIBRARIES
from purebench.attacks.entry import entry_of, native
from purebench.boards.bundled import find_board
from purebench.cli.declaration import declared
from purebench.cli.listing import FACTS, LEGEND, attack_facts, facts
from purebench.core import registry
from purebench.core.parameters import limits
from purebench.core.registry import factory
from purebench.core.terminal_output import make_console

GIVEN = ("classifier", "defense", "images", "threat", "eot", "view", "x", "y", "found")
"""Parameters that are passed by the run and not written in a board.yaml."""
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Examples?):")


def describe(group: str, name: str) -> None:
    """Print the description and the parameters of a registered name.

    Args:
        group: A group of the registry, such as "defenses".
        name: A registered name, one behind a prefix (`foolbox:LinfPGD`), or `path/to/file.py:name`.

    Raises:
        PurebenchError: If the name is unknown, with the nearest ones.
    """
    console = make_console()
    if group == "boards":
        print(find_board(name).read_text(encoding="utf-8"), end="")  # as it is: a board to copy from
        return
    make, _ = factory(group, name)
    text, told = sections(inspect.getdoc(make) or "")
    console.print(f"[bold]{name}[/bold]", highlight=False)
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    console.print("\n\n".join(paragraphs), markup=False, highlight=False)
    table = _parameters(make, told, group)
    if table.row_count:
        console.print("", table)
    if group == "attacks":
        _print_properties(console, name)
    declaration = declared()[0].get(name) if group == "defenses" else None
    if declaration is not None:
        names = ("random", "differentiable", "surrogate", "forwards", "ms", "licence")
        known = dict(zip(names, facts(declaration), strict=True)) | {"source": declaration.source}
        meanings = dict(line.split(maxsplit=1) for line in FACTS.splitlines()[:5])
        rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for key, value in known.items():
            rows.add_row(key, Text(value), meanings.get(key, ""))
        console.print("", rows)
    if name in registry.installed(group):
        called = f", or {name}(parameter=value, …)" if table.row_count else ""
        console.print(f"\nin a board.yaml: {name}{called}", style="dim", markup=False)


def _print_properties(console: Console, name: str) -> None:
    """Print the norms, the knowledge and the kind of an attack, with their meanings; nothing for an undescribed one."""
    library, _, own = name.partition(":")
    known = LIBRARIES[library].values() if library in LIBRARIES else ()
    entry = next((one for one in known if own in (one.name, *one.aliases)), native().get(name))
    if entry is None and (point := registry.installed("attacks").get(name)) is not None:
        entry = entry_of(point)
    if entry is None:
        return
    meanings = dict(line.split(maxsplit=1) for line in LEGEND.splitlines())
    rows = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in zip(("norms", "sees", "kind"), attack_facts(entry), strict=True):
        rows.add_row(key, Text(value), Text(meanings[key]))
    console.print("", rows)


def sections(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a Google-style docstring.

    Args:
        docstring: As `inspect.getdoc` gives it.

    Returns:
        The text before the first section, and the descriptions under `Args:` or `Attributes:` by name.
    """
    text: list[str] = []
    told: dict[str, str] = {}
    section, last = "", ""
    for line in docstring.splitlines():
        if SECTION.fullmatch(line):
            section = line[:-1]
        elif not section:
            text.append(line)
        elif section in ("Args", "Attributes"):
            found = re.match(r" {4}\**(\w+)(?: \([^)]*\))?: (.*)", line)
            if found:
                last = found[1]
                told[last] = found[2]
            elif last and line.strip():
                told[last] += f" {line.strip()}"
    return "\n".join(text).strip(), told


def _parameters(make: Callable[..., Any], told: dict[str, str], group: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    ranges = {name: limits(kind) or _choices(name, kind, group) for name, kind in _annotations(make).items()}
    for head in ("parameter", "default", *(["range"] if any(ranges.values()) else []), ""):
        table.add_column(head, no_wrap=head in ("parameter", "range"))
    for name, parameter in inspect.signature(make).parameters.items():
        if name in GIVEN or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        default = "required" if parameter.default is parameter.empty else repr(parameter.default)
        limited = [Text(ranges.get(name, ""))] if any(ranges.values()) else []
        table.add_row(name, default, *limited, Text(told.get(name, "")))
    return table


def _choices(name: str, kind: Any, group: str) -> str:
    """Return the values that a parameter may have, if they are few and known; else nothing."""
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if group == "attacks" and name == "loss" and kind is str:
        from purebench.attacks.gradient.losses import LOSSES

        return ", ".join(LOSSES)
    return ""


def _annotations(make: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters by name; none where an annotation cannot be resolved."""
    annotated = make.__init__ if inspect.isclass(make) and not is_dataclass(make) else make
    try:
        return get_type_hints(annotated, include_extras=True)
    except Exception:  # a third party may import a type for its type checker only
        return {}
