"""Defines the manifest of a bundle, and the numbers that are printed from a result."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from purebench.core.files.versioned_model import MOST_IMAGES, Fraction, Hash, Line, Position, StrictModel, Whole
from purebench.results.grading.best_known import best_known
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

SCHEMA: Final = 1
"""Version of the schema of bundles."""


class Number(StrictModel):
    """A printed number: an accuracy with its confidence interval.

    Attributes:
        value: the accuracy, in [0,1].
        low: lower end of the interval.
        high: upper end of the interval.
        confidence: nominal coverage of the interval.
        n: number of images.
        method: name of the method of the interval.
    """

    value: Fraction
    low: Fraction
    high: Fraction
    confidence: Fraction
    n: Whole
    method: Line


class Numbers(StrictModel):
    """All numbers that are printed from a result.

    Attributes:
        robust: the robust accuracy; None if it is known only within bounds.
        bounds: the robust accuracy with all doubtful images wrong, and with all right; None without such images.
        clean: the clean accuracy.
        best_known: the accuracy with the attacks that are bespoke to the row.
        attacks: the accuracy under each attack that applies, by its name.
    """

    robust: Number | None
    bounds: Annotated[list[Number], Field(min_length=2, max_length=2)] | None
    clean: Number | None
    best_known: Number | None
    attacks: dict[Line, Number]


class Examples(StrictModel):
    """The adversarial examples that the robust accuracy is measured at.

    Attributes:
        hashes: for each image of the result, the sha256 of its adversarial example as little-endian float32 [C,H,W];
            None where no attack answered.
        stored: the rows of the images whose examples are stored, ascending.
        shape: the shape [C,H,W] of an example.
    """

    hashes: Annotated[list[Hash | None], Field(max_length=MOST_IMAGES)]
    stored: Annotated[list[Position], Field(max_length=MOST_IMAGES)]
    shape: Annotated[list[Position], Field(min_length=3, max_length=3)]


class Manifest(StrictModel):
    """The contents of `manifest.json`.

    Attributes:
        board: name of the board.
        row: name of the defense on the board.
        purebench: version of purebench that made the bundle.
        numbers: the printed numbers, which can be recomputed from the result.
        examples: the adversarial examples.
        keys: the keys of the jobs of each attack, block by block; each is a hash of all that decides its result.
        code_files: the sha256 of the Python files that the settings name, by their paths in the settings.
        imports: for each of these files, the sha256 of the local modules that it imports, by the names of the modules.
        schema_version: version of this schema.
    """

    board: Line
    row: Line
    purebench: Line
    numbers: Numbers
    examples: Examples
    keys: dict[Line, list[Hash]]
    code_files: dict[Line, Hash]
    imports: dict[Line, dict[Line, Hash]] = Field(default_factory=dict)
    schema_version: Literal[1] = Field(SCHEMA, alias="schema")


def numbers_of(result: DefenseResult) -> Numbers:
    """Return all numbers that are printed from a result."""
    by_attack = {attack.name: result.accuracy(attack) for attack in result.attacks}
    return Numbers(
        robust=_number(result.robust),
        bounds=None if result.bounds is None else [_sure(one) for one in result.bounds],
        clean=_number(result.clean),
        best_known=_number(best_known(result)),
        attacks={name: _sure(found) for name, found in by_attack.items() if found is not None},
    )


def _number(found: Estimate | None) -> Number | None:
    return None if found is None else _sure(found)


def _sure(found: Estimate) -> Number:
    values: dict[str, Any] = {name: float(getattr(found, name)) for name in ("value", "low", "high", "confidence")}
    return Number(**values, n=int(found.n), method=found.method)
