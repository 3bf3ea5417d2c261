"""Code that all benchmarks share: flags, tables, the JSON file, and the bars that decide the exit code."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from purebench.core.compute.devices import find_device
from purebench.core.compute.memory import keep_freed_memory
from purebench.core.errors import PurebenchError
from purebench.records.provenance import commit, device_name, versions

PEERS = ("torchattacks", "adv-lib")
"""Distributions of the peers that purebench itself does not need."""

Column = tuple[str, str, Callable[[Any], str]]
"""A row's key, the heading, and the function that formats the value."""


@dataclass(frozen=True)
class Bar:
    """A requirement and whether it is met: value against limit, or (limit None) as `what` describes."""

    what: str
    value: float
    limit: float | None
    met: bool

    def __str__(self) -> str:
        numbers = "" if self.limit is None else f": {self.value:.3g} (bar: {self.limit:.3g})"
        return f"{'met   ' if self.met else 'MISSED'} {self.what}{numbers}"


@dataclass
class Report:
    """The results of a benchmark. Tables are printed immediately; `close` prints the bars and writes the file."""

    name: str
    settings: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def show(self, title: str, rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> None:
        """Print a table and keep its rows; a row without a column's key has an empty cell."""
        table = Table(title=title, title_justify="left")
        for number, (_, heading, _) in enumerate(columns):
            table.add_column(heading, justify="right" if number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(escape(write(row[key])) if row.get(key) is not None else "" for key, _, write in columns))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
        self.tables[title] = [dict(row) for row in rows]

    def at_most(self, what: str, value: float, limit: float) -> None:
        """Add a bar: value ≤ limit (NaN never meets it)."""
        self.bars.append(Bar(what, value, limit, bool(value <= limit)))

    def below(self, what: str, value: float, limit: float) -> None:
        """Add a bar: value < limit."""
        self.bars.append(Bar(what, value, limit, bool(value < limit)))

    def told(self, what: str, value: float, *, met: bool) -> None:
        """Add a bar described in words."""
        self.bars.append(Bar(what, value, None, met))

    def close(self, path: Path | None) -> int:
        """Print missing peers and bars, write the JSON file, and return the exit code: 1 if a bar is missed."""
        for name, reason in self.missing.items():
            print(f"missing: {name} ({reason})")
        if self.missing:
            print("the bars hold against those that took part; tools/peers.sh makes an environment with all")
        for bar in self.bars:
            print(bar)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0 if all(bar.met for bar in self.bars) else 1

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, with its provenance."""
        return {
            "benchmark": self.name,
            "command": shlex.join(sys.argv),
            "settings": self.settings,
            "versions": versions() | peer_versions(),
            "commit": commit(),
            "tables": self.tables,
            "missing": self.missing,
            "bars": [asdict(bar) for bar in self.bars],
        }


def peer_versions() -> dict[str, str]:
    """Return the versions of the installed peers."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def parser(about: str | None, *, threads: int = 1) -> argparse.ArgumentParser:
    """Return a parser with the flags of all benchmarks; `about` is the module's docstring."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=threads, help=f"threads of torch ({threads})")
    made.add_argument("--device", default="cpu", help="cpu, cuda or cuda:0 (cpu)")
    made.add_argument("--seed", type=int, default=0, help="decides every random number (0)")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write what was found to FILE")
    made.add_argument(
        "--default-malloc",
        action="store_true",
        help="leave glibc's thresholds as they are (suite/core/compute/memory.py)",
    )
    return made


def perform(name: str, options: argparse.Namespace, work: Callable[[Report], None]) -> int:
    """Set threads and allocator, run the work with a report, close it, and return the exit code of the process.

    The exit code is 1 if a bar is missed, 2 for bad input. `options.device` becomes a torch.device.
    """
    try:
        options.device = find_device(options.device)
        torch.set_num_threads(options.threads)
        kept = not options.default_malloc and keep_freed_memory()
        plain = {key: value if isinstance(value, int | float) else str(value) for key, value in vars(options).items()}
        report = Report(name, plain | {"device": device_name(str(options.device)), "freed memory kept": kept})
        work(report)
    except PurebenchError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return report.close(options.json)


def progress() -> Progress:
    """Return a progress bar on stderr with the current task, elapsed and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def text(value: Any) -> str:
    """Return a value as text."""
    return str(value)


def fixed(digits: int) -> Callable[[float], str]:
    """Return a formatter of numbers with this many decimals."""
    return lambda value: f"{value:.{digits}f}"


def percent(value: float) -> str:
    """Return a share in [0,1] as a percentage."""
    return f"{100 * value:.1f} %"
