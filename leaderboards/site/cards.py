"""The card of a defense: its paper, licence, family and the properties that the board pages filter by."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from purebench.core.registry import Spec
from purebench.results.ranking.rank import Row

UNKNOWN = "not declared"


@dataclass(frozen=True)
class Card:
    """The declared properties of a defense; "" where one is not declared.

    Attributes:
        paper: authors or title, and the number of the paper.
        title: title of the paper.
        venue: where it was published.
        year: year of publication.
        url: address of the paper.
        code: address of the authors' code.
        licence: licence of code and weights.
        family: the kind of defense, such as "diffusion".
        gradient: whether the gradient passes through the purifier: exact, zero, none or varies.
        extra_data: "yes" if it was trained on data beyond the training set of the board's data set, "no" otherwise.
        forwards: passes of an image through the defense's own networks in a draw.
        ms: milliseconds of CPU time for a draw of an image at default settings.
        note: a remark for readers.
    """

    paper: str = ""
    title: str = ""
    venue: str = ""
    year: str = ""
    url: str = ""
    code: str = ""
    licence: str = ""
    family: str = ""
    gradient: str = ""
    extra_data: str = ""
    forwards: str = ""
    ms: str = ""
    note: str = ""

    @property
    def links(self) -> list[tuple[str, str]]:
        """Labels and addresses, of the web only: another scheme could run a script."""
        named = [("paper", self.url), ("code", self.code)]
        return [(label, url) for label, url in named if re.match(r"https?://[^\s\"'<>]+\Z", url)]


@dataclass(frozen=True)
class Catalogue:
    """Properties of defenses that are not in their results.

    Attributes:
        cards: cards by the registered name of a defense.
        own: cards by board and row, which take precedence.
        bibtex: returns the BibTeX entries of registered names.
    """

    cards: Mapping[str, Card] = field(default_factory=dict)
    own: Mapping[tuple[str, str], Card] = field(default_factory=dict)
    bibtex: Callable[[Sequence[str]], str] = lambda names: ""

    def card(self, board: str, row: Row) -> Card:
        """Return the card of a row."""
        return self.own.get((board, row.name)) or self.cards.get(registered_name(row), Card())

    def key(self, row: Row) -> str:
        """Return the identity of a defense across boards: its registered name, or else the name of the row.

        If a row of the user has the name of a registered defense, its spec is added, so that the two are different.
        """
        name = registered_name(row)
        if name in self.cards:
            return name
        return f"{row.name} ({row.result.spec['name']})" if row.name in self.cards else row.name


def registered_name(row: Row) -> str:
    """Return the registered name of a row's defense: of names such as `robustbench/NAME`, the part before `/` or `:`.

    It is "" for a file of the user (`path/to/file.py:name`), whatever the names of its folders.
    """
    name = str(row.result.spec["name"])
    return "" if Spec(name).path else re.split("[/:]", name)[0]


def slug(name: str) -> str:
    """Return a file name for any text: the text itself if it is plain, else with a hash, so that names stay different.

    >>> slug("diffpure-sde")
    'diffpure-sde'
    """
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip(".-")[:60]
    return plain if plain and plain == name else f"{plain or 'row'}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
