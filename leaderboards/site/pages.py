"""Renders the pages of the site as HTML; every value is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from purebench.boards.replay import run_command
from purebench.leaderboards.badge_text import shown_badge
from purebench.leaderboards.notes import threat_text
from purebench.leaderboards.site.cards import Card, Catalogue, slug
from purebench.leaderboards.site.payload import version_of
from purebench.leaderboards.site.source import BoardSource
from purebench.results.figures.passes import passes_per_image
from purebench.results.ranking.rank import Row

HERE = Path(__file__).parent
LEADERS = 3
"""Rows of a board on the index."""


@dataclass(frozen=True)
class Site:
    """Values that all pages share.

    Attributes:
        title: title of the site.
        docs: address of the documentation, relative to the site's root or absolute; "" for no link.
        texts: titles of the pages of text, by file name.
    """

    title: str
    docs: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DefenseRow:
    """One row of a board on the page of its defense.

    Attributes:
        source: the board.
        row: the row.
    """

    source: BoardSource
    row: Row

    @property
    def board_page(self) -> str:
        """The board's page, relative to the site's root."""
        return board_page(self.source)

    @property
    def origin(self) -> tuple[str, str, str, str]:
        """The version of purebench, commit, device and hash of the weights behind the row."""
        found = self.row.result.provenance
        return (
            version_of(self.row),
            str(found.get("commit") or ""),
            str(found.get("device") or ""),
            str(self.row.result.weights),
        )

    @property
    def passes(self) -> float:
        """The cost of its evaluation in purifier passes per image."""
        return passes_per_image(self.row.result).total

    @property
    def badge(self) -> str:
        """The verification of the row, and the number of versions that were submitted."""
        return shown_badge(self.row.name, self.source.badges)

    @property
    def remarks(self) -> list[str]:
        """The remarks of the verdict behind the badge, such as a commit or a cost that the verifier did not find."""
        verdict = self.source.badges[self.row.name].verdict
        return [] if verdict is None else verdict.remarks


@dataclass(frozen=True)
class DefensePage:
    """The page of one defense.

    Attributes:
        name: its identity across boards (`Catalogue.key`): its registered name, or else the name of its row.
        card: its card.
        entries: its rows, the newest version of purebench first.
    """

    name: str
    card: Card
    entries: tuple[DefenseRow, ...]

    @property
    def path(self) -> str:
        """The page, relative to the site's root."""
        return f"defenses/{slug(self.name)}.html"

    @property
    def random(self) -> str:
        """True if its results are those of a random defense."""
        kinds = sorted({"random" if entry.row.random else "deterministic" for entry in self.entries})
        return " or ".join(kinds)

    @property
    def parameters(self) -> list[int]:
        """The distinct numbers of parameters of its rows."""
        return sorted({entry.row.result.parameters for entry in self.entries})

    @property
    def versions(self) -> int:
        """The number of distinct versions: of code, weights and settings."""
        return len({(entry.row.spec, *entry.origin[:2], entry.origin[3]) for entry in self.entries})


def defense_pages(sources: Sequence[BoardSource], catalogue: Catalogue) -> list[DefensePage]:
    """Gather the rows of all boards by defense, sorted by name."""
    found: dict[str, list[DefenseRow]] = {}
    for source in sources:
        for row in source.rows:
            found.setdefault(catalogue.key(row), []).append(DefenseRow(source, row))
    return [
        DefensePage(name, _card(catalogue, entries), tuple(sorted(entries, key=_newest_first)))
        for name, entries in sorted(found.items())
    ]


def _card(catalogue: Catalogue, entries: Sequence[DefenseRow]) -> Card:
    """Return the first card that is a row's own, or else the card of the registered defense."""
    rows = [(entry.source.board.name, entry.row) for entry in entries]
    own = (one for one in rows if (one[0], one[1].name) in catalogue.own)
    return catalogue.card(*next(own, rows[0]))


def board_page(source: BoardSource) -> str:
    """Return the page of a board, relative to the site's root."""
    return f"boards/{slug(source.board.name)}.html"


def render_index(site: Site, sources: Sequence[BoardSource], defenses: Sequence[DefensePage]) -> str:
    """Render the index: the boards with their leaders, and the defenses by family."""
    families: dict[str, list[DefensePage]] = {}
    for page in defenses:
        families.setdefault(page.card.family or "other", []).append(page)
    boards = [(source, board_page(source), threat_text(source.board), source.rows[:LEADERS]) for source in sources]
    return _render("index.html.j2", site, "", boards=boards, families=sorted(families.items()), badge=shown_badge)


def render_board(site: Site, source: BoardSource) -> str:
    """Render the page of a board, which its script fills from the board's data."""
    board = source.board
    return _render(
        "board.html.j2",
        site,
        "../",
        board=board,
        slug=slug(board.name),
        threat=threat_text(board),
        rows=len(source.rows),
        command=run_command(board),
    )


def render_defense(site: Site, page: DefensePage) -> str:
    """Render the page of a defense."""
    return _render("defense.html.j2", site, "../", page=page)


def render_text(site: Site, title: str, html: str) -> str:
    """Render a page of text.

    Args:
        site: the site.
        title: title of the page.
        html: its content, which `markdown_html` made: it contains no markup of other authors.
    """
    return _render("text.html.j2", site, "", heading=title, content=Markup(html))


def _render(template: str, site: Site, root: str, **values: Any) -> str:
    return _environment().get_template(template).render(site=site, root=root, **values).rstrip() + "\n"


@cache
def _environment() -> Environment:
    """Return the environment of the templates; values are escaped, and an undefined variable is an error."""
    return Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _newest_first(entry: DefenseRow) -> tuple[list[int], str, str]:
    numbers = [-int(part) for part in entry.origin[0].split(".") if part.isdigit()]
    return numbers, entry.source.board.name, entry.row.name
