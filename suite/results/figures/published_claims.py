"""Accuracies that others claim for the rows of a board, from claims.yaml; they are shown, and never ranked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_yaml import load_yaml
from purebench.core.files.validation_errors import told
from purebench.core.files.versioned_model import StrictModel, from_plain
from purebench.core.registry import Spec
from purebench.core.threat import parse_radius
from purebench.results.results import DefenseResult

FILE = "claims.yaml"
PROTOCOL = (
    "claimed: numbers of the sources named, measured by another protocol (other attacks, images and draws) than the "
    "numbers of this board; not comparable with them, and not ranked"
)
PLACES = {"cifar10": ("folder", "download"), "image-folder": ("classes", "published")}
"""Parameters of data sets that do not decide the images: where the files are, and checks of them."""
Words = Annotated[str, Field(pattern=r"\S", max_length=200)]
Percent = Annotated[str, Field(pattern=r"^(100(\.0{1,2})?|\d{1,2}(\.\d{1,2})?)$")]


class ClaimSource(StrictModel):
    """A document in which claims were read.

    Attributes:
        cited: authors or project, and the document.
        url: its address.
        read: the kind of document. A number that is only remembered is no claim.
        attack: the attack under which the robust accuracies were measured.
    """

    cited: Words
    url: Annotated[str, Field(pattern=r"^https://[^\s\"'<>]+$", max_length=300)]
    read: Literal["paper", "abstract", "readme", "repository", "issue"]
    attack: Words


class Claim(StrictModel):
    """One claim.

    Attributes:
        source: the name of its source.
        data: the data set as a board writes it.
        norm: norm of the threat.
        radius: radius of the threat in units of images in [0,1], as a board writes it.
        images: number of images.
        defense: the defense as a board writes it.
        classifier: the classifier of the board; empty if the defense has its own.
        clean: clean accuracy in percent, with the source's digits.
        robust: robust accuracy in percent, with the source's digits.
    """

    source: Words
    data: Words
    norm: Words
    radius: Words
    images: Annotated[int, Field(gt=0)]
    defense: Words
    classifier: str = ""
    clean: Percent
    robust: Percent


class Claims(StrictModel):
    """The content of claims.yaml.

    Attributes:
        sources: the sources by name.
        claims: the claims.
    """

    sources: dict[str, ClaimSource]
    claims: list[Claim]

    @model_validator(mode="after")
    def _sourced(self) -> Claims:
        for claim in self.claims:
            if claim.source not in self.sources:
                raise told(f"expected one of the sources {', '.join(self.sources)}, but got {claim.source!r}")
        return self


@dataclass(frozen=True)
class PublishedClaim:
    """A claim about a row, with its source.

    Attributes:
        claim: the claim.
        source: its source.
    """

    claim: Claim
    source: ClaimSource

    @property
    def text(self) -> str:
        """The claim in one phrase: "59.53 % (AutoAttack, 10,000 images; RobustBench, model_info)"."""
        return f"{self.claim.robust} % ({self.source.attack}, {self.claim.images:,} images; {self.source.cited})"


@cache
def claims() -> Claims:
    """Return the content of claims.yaml.

    Raises:
        PurebenchError: it is not valid.
    """
    path = files("purebench.defenses").joinpath(FILE)
    try:
        return from_plain(Claims, load_yaml(path.read_text(encoding="utf-8")))
    except PurebenchError as error:
        raise PurebenchError(f"{FILE}: {error}") from error


def claims_of(result: DefenseResult) -> tuple[PublishedClaim, ...]:
    """Return what is claimed for a row: for the same defense, classifier, data set, norm and radius as the board's.

    A model with a file of the user's (`weights`, `model_dir`) is another one, because the hashes of the files of which
    something is claimed are not known.

    Args:
        result: the result of the row.
    """
    board = result.board
    spec = Spec(str(result.spec["name"]), result.spec.get("params") or {})
    try:
        data, classifier = _data(board["dataset"]["use"]), Spec.parse(board["classifier"])
        norm, radius = board["threat"]["norm"], parse_radius(board["threat"]["radius"])
    except (KeyError, TypeError, PurebenchError):  # a board of another version
        return ()
    return tuple(
        PublishedClaim(claim, claims().sources[claim.source])
        for claim in claims().claims
        if claim.norm == norm
        and _same(_read(claim.defense), spec)
        and _same(_data(claim.data), data)
        and math.isclose(parse_radius(claim.radius), radius, rel_tol=1e-9)
        and (not claim.classifier or _same(_read(claim.classifier), classifier))
    )


def claimed_text(found: Sequence[PublishedClaim]) -> str:
    """Return the claims about a row in one cell; empty for none."""
    return "; ".join(one.text for one in found)


@cache
def _read(text: str) -> Spec:
    """Return the spec of a claim, which is read once for all rows."""
    return Spec.parse(text)


def _same(claimed: Spec, used: Spec) -> bool:
    """Return whether two specs have the same name and parameters."""
    return (claimed.name, dict(claimed.params)) == (used.name, dict(used.params))


def _data(use: str | Mapping[str, Any]) -> Spec:
    """Return the spec of a data set without the parameters that do not decide the images."""
    spec = Spec.parse(use)
    places = PLACES.get(spec.name, ())
    return Spec(spec.name, {key: value for key, value in spec.params.items() if key not in places})
