"""Makes the cards of defenses: from declarations, the papers they name, submissions, and files `cards.yaml`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from purebench.cli.declaration import Declaration, declared
from purebench.cli.output.citations import bibtex, papers
from purebench.core import registry
from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import read_text
from purebench.core.files.validation_errors import Expected
from purebench.core.files.versioned_model import StrictModel, from_plain

if TYPE_CHECKING:
    from purebench.leaderboards.site.cards import Card, Catalogue
    from purebench.leaderboards.site.source import BoardSource

FILE = "cards.yaml"
SUBMITTED = "entries"
"""Sub-folder of a board with `ROW.yaml`, the `entry.yaml` of each published submission."""
MOST_BYTES = 1_000_000
PAPER = re.compile(r"(?P<paper>(?:after )?.+? (?P<year>\d{4}),? .*?arXiv:(?P<number>[\w./-]+\w))")
TITLE = re.compile(r"title\s*=\s*\{+(.*?)\}+,")
Words = Annotated[str, Field(pattern=r"\S", max_length=500), Expected("words")]
Address = Annotated[str, Field(pattern=r"^https?://[^\s\"'<>]+$", max_length=500), Expected("an address, https://…")]
Year = Annotated[int, Field(ge=1900, le=2200), Expected("a year, such as 2025")]


class CardEntry(StrictModel):
    """The entry of one defense in a cards.yaml; all keys are optional and take precedence over the declaration.

    Attributes:
        paper: authors and year.
        title: title of the paper.
        venue: where it was published.
        year: year of publication.
        url: address of the paper.
        code: address of the authors' code.
        licence: licence of code and weights.
        family: the kind of defense.
        gradient: whether the gradient passes through the purifier.
        extra_data: whether it was trained on data beyond the training set of the board's data set.
        note: a remark for readers.
    """

    paper: Words | None = None
    title: Words | None = None
    venue: Words | None = None
    year: Year | None = None
    url: Address | None = None
    code: Address | None = None
    licence: Words | None = None
    family: Words | None = None
    gradient: Literal["exact", "zero", "none", "varies"] | None = None
    extra_data: bool | None = None
    note: Annotated[str, Field(pattern=r"\S", max_length=2_000), Expected("words")] | None = None


def catalogue(sources: Sequence[BoardSource]) -> Catalogue:
    """Return the cards of the installed defenses, and those of the rows of boards that have entries or a `cards.yaml`.

    Args:
        sources: The boards. Folder `entries` and cards.yaml lie in the folder of results or in the one above it, and
            name rows; cards.yaml takes precedence over entries, and these over declarations.

    Raises:
        PurebenchError: If an entry or a cards.yaml is not valid; the message names it.
    """
    from purebench.leaderboards.site.cards import Card, Catalogue, registered_name
    from purebench.records.provenance import versions

    declarations, _ = declared()
    ours = entries(Path(str(files("purebench.defenses"))) / FILE)
    cards = {name: _over(_declared_card(name, one), _said(ours.get(name))) for name, one in declarations.items()}
    own = {}
    for source in sources:
        places = (source.folder.parent, source.folder)
        given: dict[str, CardEntry] = {}
        for place in places:
            given |= entries(place / FILE)
        for row in source.rows:
            said: dict[str, Any] = {}
            for place in places:
                said |= _submitted(place / SUBMITTED / f"{row.name}.yaml", source.board.name, row.name)
            said |= _said(given.get(row.name))
            if said:
                own[source.board.name, row.name] = _over(cards.get(registered_name(row), Card()), said)
    return Catalogue(cards, own, partial(bibtex, version=versions()["purebench"]))


def entries(path: Path) -> dict[str, CardEntry]:
    """Read a cards.yaml: by name of a defense or row; {} if there is none.

    Args:
        path: The file.

    Raises:
        PurebenchError: If it is not valid.
    """
    if not path.is_file():
        return {}
    try:
        plain = load_yaml(read_text(path, MOST_BYTES)) or {}
        return dict(from_plain(dict[str, CardEntry], plain))
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error


def _submitted(path: Path, board: str, row: str) -> dict[str, Any]:
    """Return the fields of a card from the `entry.yaml` of a submission; {} if there is none.

    Paper, title, venue, year and address are returned even if they are empty, because they describe one paper.

    Raises:
        PurebenchError: If it is not valid, or is that of another row.
    """
    if not path.is_file():
        return {}
    from purebench.checks.verification.entry import read_entry

    entry = read_entry(path)
    if (entry.board, entry.row) != (board, row):
        raise PurebenchError(
            f"{path}: expected the entry.yaml of {row!r} on {board!r}, but it is that of {entry.row!r} on "
            f"{entry.board!r}; copy that of the row."
        )
    cited = {"paper": ", ".join(entry.authors), "title": entry.title, "venue": entry.venue, "url": entry.paper}
    year = "" if entry.year is None else entry.year
    more = {"code": entry.code, "licence": entry.licence, "note": entry.note}
    return {**cited, "year": year, **{name: value for name, value in more.items() if value}}


def _declared_card(name: str, one: Declaration) -> Card:
    from purebench.leaderboards.site.cards import Card

    found = PAPER.search(one.source)
    number = found["number"] if found else ""
    title = TITLE.search(papers().get(number, ""))
    return Card(
        paper=one.source if found is None else found["paper"],
        title=title[1] if title else "",
        venue="arXiv" if found else "",
        year=found["year"] if found else "",
        url=f"https://arxiv.org/abs/{number}" if number else "",
        licence=one.licence,
        family=_family(name),
        gradient=one.gradient,
        forwards=str(one.forwards),
        ms="" if one.ms is None else str(one.ms),
    )


def _said(entry: CardEntry | None) -> dict[str, Any]:
    """Return the fields of a card that an entry states; {} for None."""
    given = {} if entry is None else {name: value for name, value in entry.model_dump().items() if value is not None}
    return given | ({"extra_data": "yes" if given["extra_data"] else "no"} if "extra_data" in given else {})


def _over(card: Card, given: Mapping[str, Any]) -> Card:
    """Return the card with the given fields replaced."""
    from dataclasses import replace

    return replace(card, **{name: str(value) for name, value in given.items()})


def _family(name: str) -> str:
    """Return the folder of a defense of this package, such as "diffusion"; "" for those of others."""
    point = registry.installed("defenses").get(name)
    parts = [] if point is None else point.value.split(":")[0].split(".")
    return parts[2].replace("_", " ") if parts[:2] == ["purebench", "defenses"] and len(parts) > 2 else ""
