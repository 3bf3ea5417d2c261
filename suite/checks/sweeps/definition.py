"""Defines a sweep, and reads it from a YAML file or from the options of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from purebench.boards.bundled import bundled
from purebench.boards.schema_fields import Images, Named, Radius
from purebench.boards.selection import label
from purebench.checks.sweeps.choice import LARGEST_CLEAN_LOSS
from purebench.checks.sweeps.grid import MOST_STRENGTHS, Family, family
from purebench.core.errors import PurebenchError, did_you_mean, require_fraction
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.text import MEBIBYTE, read_text
from purebench.core.files.versioned_model import StrictModel, from_plain
from purebench.core.registry import Spec
from purebench.core.threat import parse_radius

SCHEMA: Final = 1
"""Version of the schema of sweep files."""
FILE = "sweep.yaml"
"""Name of the sweep of a bundled board, beside its board.yaml."""
IMAGES = 64
"""Dev images of a sweep."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep over the strengths of defenses, and over the radius.

    Attributes:
        board: The board that provides images, classifier, threat model and attacks: bundled, or a path.
        families: The defenses with their strengths.
        radii: Further radii, as they are written, at which the chosen strength of each family is evaluated.
        images: Number of dev images.
        largest_clean_loss: Largest clean loss of a strength that the rule may choose, a fraction in [0,1].
        cascade: Whether images that one attack broke on every draw are spared the attacks after it.
        folder: The folder in which Python files named by specs are looked for first; None for no such folder.
    """

    board: str
    families: tuple[Family, ...]
    radii: tuple[str, ...] = ()
    images: int = IMAGES
    largest_clean_loss: float = LARGEST_CLEAN_LOSS
    cascade: bool = False
    folder: Path | None = None

    def __post_init__(self) -> None:
        require_fraction("largest_clean_loss", self.largest_clean_loss)
        strengths = sum(len(one.strengths) for one in self.families)
        if strengths > MOST_STRENGTHS:
            raise PurebenchError(
                f"sweep: expected at most {MOST_STRENGTHS} strengths in all families, but got {strengths:,}; sweep "
                "some of the families at a time."
            )
        texts = [str(Spec.parse(strength.text)) for one in self.families for strength in one.strengths]
        if twice := [text for text in texts if texts.count(text) > 1]:
            raise PurebenchError(f"sweep: expected each strength once, but got {twice[0]} twice; remove one.")
        if not self.radii and (alone := [one for one in self.families if len(one.strengths) < 2]):
            raise PurebenchError(
                f"sweep: expected at least two strengths, but {alone[0].text!r} has one; write several values of a "
                "parameter in braces, such as 'diffpure(t={100, 150, 200})', or give several radii."
            )
        if len({parse_radius(radius) for radius in self.radii}) < len(self.radii):
            raise PurebenchError(f"radii: expected each radius once, but got {', '.join(self.radii)}; remove one.")

    def only(self, names: Sequence[str]) -> Sweep:
        """Return the sweep of some of its families.

        Raises:
            PurebenchError: If one of the names is unknown.
        """
        known = {one.name: one for one in self.families}
        for name in names:
            if name not in known:
                raise PurebenchError(f"--family: {name!r} is unknown; {did_you_mean(name, known)}")
        return replace(self, families=tuple(one for one in self.families if one.name in names))


class SweepSchema(StrictModel):
    """The keys of a sweep file."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    board: str = Field(min_length=1, max_length=1_000)
    families: Annotated[dict[str, Annotated[str, Field(max_length=2_000)]], Named]
    radii: Annotated[list[Radius], Field(max_length=MOST_STRENGTHS)] = Field(default_factory=list)
    images: Images = IMAGES
    largest_clean_loss: float = LARGEST_CLEAN_LOSS
    cascade: bool = False


def sweep_file(text: str) -> Path | None:
    """Return the sweep file that a name means; None if the name is that of a board without one.

    Args:
        text: A bundled board, whose sweep is beside its board.yaml, or the path of a YAML file.

    Raises:
        PurebenchError: If a file cannot be read.
    """
    if text in bundled():
        path = bundled()[text].with_name(FILE)
        return path if path.is_file() else None
    path = Path(text)
    if path.suffix not in (".yaml", ".yml"):
        return None
    return path if "families" in _mapping(path) else None


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file. Its board is a bundled one, or a file that is looked for beside it.

    Raises:
        PurebenchError: If it is not a valid sweep; the message gives file, place and cure.
    """
    data = _mapping(path)
    try:
        found = from_plain(SweepSchema, data, "sweep")
        return Sweep(
            board=_board(found.board, path.parent),
            families=tuple(family(name, text) for name, text in found.families.items()),
            radii=tuple(map(str, found.radii)),
            images=found.images,
            largest_clean_loss=found.largest_clean_loss,
            cascade=found.cascade,
            folder=path.parent,
        )
    except PurebenchError as error:
        raise PurebenchError(f"{path}: {error}") from error


def families_of(texts: Sequence[str]) -> tuple[Family, ...]:
    """Return the families of a command line, named after their defenses; a number tells apart those of one name."""
    names: list[str] = []
    for text in texts:
        name = label(text.partition("(")[0].strip())
        numbered = chain([name], (f"{name}-{number}" for number in count(2)))
        names.append(next(one for one in numbered if one not in names))
    return tuple(family(name, text) for name, text in zip(names, texts, strict=True))


def radii_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the radii of a command line, each of which may be a list such as "{4/255, 8/255}".

    Raises:
        PurebenchError: If a text is not a radius.
    """
    parts = [part.replace(" ", "") for text in texts for part in text.strip().strip("{}").split(",")]
    for part in parts:
        parse_radius(part)
    return tuple(parts)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        data = load_yaml(read_text(path, MEBIBYTE))
    except PurebenchError as error:
        raise PurebenchError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise PurebenchError(f"{path}: expected a mapping with the keys of a sweep or of a board.")
    return data


def _board(name: str, folder: Path) -> str:
    """Return the board of a sweep file: a bundled one as it is, a path as seen from the file's folder."""
    if name in bundled() or not (folder / name).is_file():
        return name
    return str(folder / name)
