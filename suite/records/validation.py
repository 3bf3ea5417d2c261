"""Checks that the answers in a record or a result do not contradict each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.records.outcome import ANSWERED, Outcome

if TYPE_CHECKING:
    from purebench.records.record import Record


def check_record(record: Record) -> None:
    """Check that the lists of a record agree.

    Raises:
        PurebenchError: If a list has another length than the images, an image is repeated, an outcome contradicts its
            draws, or the facts about the defense are malformed.
    """
    lists: dict[str, Sequence[Any]] = {
        "labels": record.labels,
        "outcomes": record.outcomes,
        "draws": record.draws,
        "distances": record.distances,
    }
    optional: dict[str, Sequence[Any]] = {"nearest": record.nearest, "claims": record.claims}
    optional |= {"certified": record.certified, "reasons": record.reasons, "picked": record.picked}
    check_lengths(record.images, lists, optional)
    lengths = {len(draws) for draws in record.draws if draws}
    if len(lengths) > 1:
        raise PurebenchError(f"draws: expected equally many draws of each image, but got {sorted(lengths)}.")
    check_draws(record.outcomes, record.draws, lengths.pop() if lengths else 1)
    check_facts(record.provenance)


def check_lengths(
    images: Sequence[int], lists: Mapping[str, Sequence[Any]], optional: Mapping[str, Sequence[Any]]
) -> None:
    """Check that each list has one value per image, and that no image is repeated.

    Args:
        images: Positions of the images in the data set.
        lists: Lists that must have one value per image, by name.
        optional: Lists that may also be empty, by name.

    Raises:
        PurebenchError: If a list has another length, or an image is repeated.
    """
    if len(set(images)) < len(images):
        raise PurebenchError("images: expected each image once, but got one twice.")
    for name, values in {**lists, **{name: values for name, values in optional.items() if values}}.items():
        if len(values) != len(images):
            raise PurebenchError(f"{name}: expected one value for each of {len(images)} images, but got {len(values)}.")


def check_draws(outcomes: Sequence[Outcome], draws: Sequence[str], count: int) -> None:
    """Check that the outcomes agree with the draws.

    Each answered image must have `count` draws, which decide its outcome; other images must have none.

    Args:
        outcomes: The outcome of each image.
        draws: The draws of each image, as in a record.
        count: Verification draws per answered image.

    Raises:
        PurebenchError: If they contradict each other.
    """
    for row, (outcome, given) in enumerate(zip(outcomes, draws, strict=True)):
        expected = count if outcome in ANSWERED else 0
        if len(given) != expected:
            raise PurebenchError(
                f"draws[{row}]: expected {expected} verification draws of an image that is {outcome}, but got "
                f"{len(given)}."
            )
        if expected and (2 * given.count("1") > count) != (outcome is Outcome.ROBUST):
            raise PurebenchError(f"outcomes[{row}]: {outcome} contradicts the draws {shown(given)}.")


def check_facts(provenance: Mapping[str, Any]) -> None:
    """Check the facts about the defense in a record's provenance that results use.

    Raises:
        PurebenchError: If they are malformed.
    """
    facts = provenance.get("defense", {})
    if not isinstance(facts, dict):
        raise PurebenchError(f"provenance.defense: expected a mapping, but got {shown(facts)}.")
    parameters = facts.get("parameters", 0)
    whole = isinstance(parameters, int) and not isinstance(parameters, bool) and parameters >= 0
    for name, fits, expected in (
        ("random", isinstance(facts.get("random", False), bool), "true or false"),
        ("parameters", whole, "a whole number"),
        ("weights", isinstance(facts.get("weights", ""), str), "text"),
    ):
        if not fits:
            raise PurebenchError(f"provenance.defense.{name}: expected {expected}, but got {shown(facts[name])}.")
