"""`purebench list`: names and a line on each, without importing what they name."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from purebench import registry
from purebench.errors import PurebenchError, nearest

ABOUT = {
    "boards": "what `purebench run` takes",
    "defenses": "purifiers and other defenses",
    "attacks": "algorithms, and other packages' attacks behind their prefix",
    "views": "gradient modes: what the attacker differentiates",
    "classifiers": "what is defended",
    "datasets": "labelled images",
    "recipes": "how bundled models were made; `purebench train`",
}


def print_names(what: str | None) -> None:
    """Prints one group, or all. Raises PurebenchError for an unknown group."""
    if what is not None and what not in ABOUT:
        raise PurebenchError(f"list: {what!r} is unknown; {nearest(what, ABOUT)}")
    console = Console()
    for group in [what] if what else ABOUT:
        table = Table(
            title=f"{group} – {ABOUT[group]}",
            title_justify="left",
            box=None,
            show_header=False,
            padding=(0, 2),
        )
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(style="dim", no_wrap=True)
        for row in _rows(group):
            table.add_row(*row)
        console.print(table)
        console.print()


def _rows(group: str) -> list[tuple[str, str, str]]:
    if group == "boards":
        from purebench.choose import bundled

        return [(name, _title(path.read_text()), "") for name, path in bundled().items()]
    return [
        (
            name,
            registry.summary(point),
            "" if point.dist is None or point.dist.name == "purebench" else point.dist.name,
        )
        for name, point in registry.installed(group).items()
    ]


def _title(text: str) -> str:
    import yaml

    return str(yaml.safe_load(text).get("title", ""))
