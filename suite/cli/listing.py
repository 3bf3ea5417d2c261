"""Implements `purebench list`: prints names with a line on each, without importing the objects."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, EntryPoint
from typing import Literal

from rich.console import Console
from rich.table import Table

from purebench.attacks.catalogue import LIBRARIES
from purebench.attacks.entry import AttackEntry, entry_of, native
from purebench.boards.bundled import bundled
from purebench.cli.declaration import VARIES, Declaration, declared
from purebench.cli.output.summaries import summary
from purebench.core import registry
from purebench.core.errors import PurebenchError, did_you_mean
from purebench.core.terminal_output import make_console

ABOUT = {
    "boards": "boards for `purebench run`",
    "defenses": "purifiers and other defenses",
    "attacks": "algorithms, and the attacks of other packages behind a prefix",
    "views": "gradient modes: the gradient that an attack uses",
    "classifiers": "classifiers that are defended",
    "datasets": "labelled images",
    "recipes": "recipes of the bundled models, for `purebench train`",
}
MORE = {
    "attacks": "norms, knowledge and kind of each attack, also of the libraries'",
    "defenses": "cost and source of each defense",
}
ONE = "parameters of one name: purebench list GROUP NAME, such as purebench list attacks apgd"
LIBRARY_TITLES = {
    "autoattack": "autoattack:NAME – AutoAttack's own package",
    "art": "art:NAME – Adversarial Robustness Toolbox 1.20",
    "foolbox": "foolbox:NAME – Foolbox 3.3.4",
}
LEGEND = """\
norms     norms of the threat models that it supports; any: it has a constraint of its own
sees      knowledge of the defense that it uses; ∇: it needs gradients
kind      bounded: stays within the radius; min-norm: searches for the nearest adversarial image"""
FACTS = """\
random          whether two answers to an image may differ
differentiable  exact: the gradient passes through the purifier; zero: it is zero almost everywhere; none: no gradient
surrogate       function that BPDA differentiates; none: there is no purifier
forwards        passes per image and draw, through the defense's own networks + through the classifier
ms              CPU milliseconds per image and draw, one thread, classifier included (defenses/costs.json)
The last section lists controls, defenses of known robust accuracy for `controls:` of a board.yaml
All at default settings; varies: depends on the parameters; ?: not measured, or not declared"""
CONTROLS = ".defenses.controls."
"""Part of the module names of the controls, which are listed last."""
LONGEST, LEAST = 39, 20
"""Number of characters of a name in a row, and in a narrow terminal; the rest is printed in the next row."""
OTHERS = 60
"""Number of columns that a table needs in addition to its names."""
PIPED = 160
"""Number of columns if the output is not a terminal: a line for each attack."""


def print_names(what: str | None) -> None:
    """Print one group, or all.

    Args:
        what: The group, None for all.

    Raises:
        PurebenchError: For an unknown group.
    """
    if what is not None:
        check_group(what)
    console = make_console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = make_console(width=PIPED)
    if what == "attacks":
        print_attacks(console)
        return
    if what == "defenses":
        print_defenses(console)
        return
    for group in [what] if what else ABOUT:
        table = _plain(f"{group} – {ABOUT[group]}")
        for row in _rows(group):
            table.add_row(*row)
        console.print(table)
        if group in MORE:
            console.print(f"  {MORE[group]}: purebench list {group}", style="dim")
        console.print()
    if what != "boards":
        console.print(ONE, style="dim", markup=False, highlight=False)


def check_group(what: str) -> None:
    """Check the name of a group.

    Args:
        what: Name of a group, such as "defenses".

    Raises:
        PurebenchError: If there is no such group.
    """
    if what not in ABOUT:
        known = {group: [*bundled()] if group == "boards" else registry.names(group) for group in ABOUT}
        hints = [f"purebench list {group} {what}" for group, names in known.items() if what in names]
        hint = f"{what} is a name within a group: {' or '.join(hints)}" if hints else did_you_mean(what, ABOUT)
        raise PurebenchError(f"list: the group {what!r} is unknown; {hint}")


def print_attacks(console: Console) -> None:
    """Print every attack with its properties, and at the end those that are left out."""
    console.print(LEGEND, style="dim", markup=False, highlight=False)
    points = {name: point for name, point in registry.installed("attacks").items() if name not in LIBRARIES}
    own = native()
    _print_entries(console, "attacks", own.values())
    others = {name: point for name, point in points.items() if name not in own}
    if others:
        table = _attack_table("attacks of other packages")
        for name, point in others.items():
            entry = entry_of(point)
            table.add_row(*((name, "?", "?", "?", summary(point)) if entry is None else _cells(entry, len(name))))
        console.print("", table)
    for library, title in LIBRARY_TITLES.items():
        _print_entries(console, title, [entry for entry in LIBRARIES[library].values() if not entry.left_out])
    table = Table(title="not available", title_justify="left", box=None, show_header=False, padding=(0, 1))
    table.add_column(max_width=34)
    table.add_column(style="dim")
    for library, reason, names in left_out():
        table.add_row(f"{library}: {reason}", ", ".join(names))
    console.print("", table)
    console.print("", ONE, style="dim", markup=False, highlight=False)


def print_defenses(console: Console) -> None:
    """Print every defense with its declaration; summary and source are in the same row, or below it if narrow."""
    console.print(FACTS, style="dim", markup=False, highlight=False)
    points = registry.installed("defenses")
    declarations, faults = declared()
    wide = console.width >= PIPED
    table, below = _defense_table(wide), _plain("descriptions of the defenses")
    controls = [name for name, point in points.items() if CONTROLS in point.value]
    for name, point in sorted(points.items(), key=lambda item: item[0] in controls):
        if controls and name == controls[0]:
            for part in (table, below):
                part.add_section()
        one = declarations.get(name)
        told = about(summary(point).rstrip("."), "" if one is None else one.source)
        row = (f"{told}; {of_another}" if (of_another := _package(point)) else told,)
        table.add_row(name, *facts(one), *(row if wide else ()))
        below.add_row(name, *row, "")
    console.print("", table)
    if not wide:
        console.print("", below)
    for fault in faults:
        console.print(f"a declaration is ignored: {fault}", style="yellow", markup=False, highlight=False)
    console.print("", ONE.replace("attacks apgd", "defenses diffpure"), style="dim", markup=False, highlight=False)


def facts(one: Declaration | None) -> list[str]:
    """Return a declaration's cells: random, differentiable, surrogate, forwards, ms, licence; `?` for undeclared ones.

    >>> facts(None)
    ['?', '?', '?', '?', '?', '?']
    """
    if one is None:
        return ["?"] * 6
    random = one.random if isinstance(one.random, str) else "yes" if one.random else "no"
    varying = VARIES in (one.forwards, one.passes)
    ms = f"{one.ms:.3g}" if isinstance(one.ms, int | float) else one.ms or "?"
    forwards = VARIES if varying else f"{one.forwards} + {one.passes}"
    return [random, one.gradient, one.surrogate, forwards, ms, one.licence]


def about(summary: str, source: str) -> str:
    """Return a defense's summary and source, without repeated names.

    >>> about("DiffPure (Nie et al. 2022)", "Nie et al. 2022, arXiv:2205.07460")
    'DiffPure (Nie et al. 2022); arXiv:2205.07460'
    """
    authors, _, number = source.partition(", ")
    return "; ".join(words for words in (summary, number if authors in summary else source) if words)


def left_out() -> list[tuple[str, str, list[str]]]:
    """Return the libraries' attacks that cannot be run: library, reason, names."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for library, entries in LIBRARIES.items():
        for entry in entries.values():
            if entry.left_out:
                reasons.setdefault((library, entry.left_out), []).append(entry.name)
    return [(*key, names) for key, names in reasons.items()]


def _print_entries(console: Console, title: str, entries: Iterable[AttackEntry]) -> None:
    table = _attack_table(title)
    longest = min(LONGEST, max(LEAST, console.width - OTHERS)) if console.width < PIPED else PIPED
    for entry in entries:
        table.add_row(*_cells(entry, longest))
    console.print("", table)


def _cells(entry: AttackEntry, longest: int) -> list[str]:
    """Return the row of an attack: name, norms, what it sees, kind, notes."""
    parts = [
        entry.note,
        f"also {', '.join(entry.aliases)}" if entry.aliases else "",
        f"needs {entry.needs}" if entry.needs else "",
    ]
    return [in_rows(entry.name, longest), *attack_facts(entry), "; ".join(part for part in parts if part)]


def attack_facts(entry: AttackEntry) -> list[str]:
    """Return an attack's cells: norms, sees, kind."""
    return [
        "any" if entry.own else " ".join(entry.norms),
        f"{entry.knowledge}{' ∇' if entry.gradients else ''}",
        "bounded" if entry.bounded else "min-norm",
    ]


def in_rows(name: str, longest: int) -> str:
    r"""Break a name that is too long for a row at the beginning of a word.

    >>> in_rows("L2ClippingAwareRepeatedAdditiveUniformNoiseAttack", 39)
    'L2ClippingAwareRepeatedAdditiveUniform\n  NoiseAttack'
    """
    if len(name) <= longest:
        return name
    starts = [found.start() for found in re.finditer("[A-Z][a-z]", name) if 0 < found.start() <= longest]
    place = max(starts, default=longest)
    return f"{name[:place]}\n  {in_rows(name[place:], longest - 2)}"


def _attack_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), header_style="dim")
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("norms", no_wrap=True)
    table.add_column("sees", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("")
    return table


def _defense_table(wide: bool) -> Table:
    table = Table(title="defenses", title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("name", style="bold", no_wrap=True)
    differentiable = "differentiable" if wide else "diff-\neren-\ntiable"
    for name in ("random", differentiable, "surrogate", "forwards", "ms", "licence"):
        justify: Literal["left", "right"] = "right" if name in ("forwards", "ms") else "left"
        table.add_column(name, justify=justify, no_wrap=name != "licence")  # a long licence takes two lines
    if wide:
        table.add_column("")
    return table


def _plain(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    return table


def _rows(group: str) -> list[tuple[str, str, str]]:
    if group == "boards":
        return [(name, _title(path.read_text(encoding="utf-8")), "") for name, path in bundled().items()]
    return [(name, summary(point), _package(point)) for name, point in registry.installed(group).items()]


def _package(point: EntryPoint) -> str:
    """Return the package of an entry point, if it is not this one."""
    return "" if point.dist is None or (name := _name(point.dist)) == "purebench" else name


@cache
def _name(distribution: Distribution) -> str:
    """Return the distribution's name, cached because each access parses all of its metadata."""
    return distribution.name


def _title(text: str) -> str:
    import yaml

    quick = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, if PyYAML was built with it
    return str(yaml.load(text, quick).get("title", ""))
