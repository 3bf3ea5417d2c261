"""Checks that the answers in a record or a result do not contradict each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import is_
from typing import TYPE_CHECKING, Any

from purebench.core.errors import PurebenchError
from purebench.core.files.text import shown
from purebench.records.outcome import ANSWERED, Outcome

if TYPE_CHECKING:
    from purebench.core.answers import LookCount
    from purebench.records.record import Record

MOST_STRINGS = 200_000
"""Largest number of different strings of draws whose outcomes are remembered."""


def check_record(record: Record, agree: bool = False) -> None:
    """Check that the lists of a record agree.

    Args:
        record: The record.
        agree: True if it is known that all images are answered and that the outcomes agree with the draws.

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
    optional |= {"known_right": record.known_right, "looks": record.looks, "clean_looks": record.clean_looks}
    optional |= {"truth": record.truth}
    check_lengths(record.images, lists, optional)
    check_known(record.known_right, record.known_seeds)
    check_looks(record.looks, record.clean_looks)
    if not agree and not (record.draws and _agree(record.outcomes, record.draws, len(record.draws[0]))):
        lengths = set(map(len, record.draws)) - {0}
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
    require_lengths(len(images), lists, optional)


def require_lengths(count: int, lists: Mapping[str, Sequence[Any]], optional: Mapping[str, Sequence[Any]]) -> None:
    """Check that each list has one value for each of `count` images; see `check_lengths`."""
    for name, values in (*lists.items(), *optional.items()):
        if len(values) != count and (values or name in lists):
            raise PurebenchError(f"{name}: expected one value for each of {count} images, but got {len(values)}.")


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
    if _agree(outcomes, draws, count):
        return
    for row, (outcome, given) in enumerate(zip(outcomes, draws, strict=True)):
        expected = count if outcome in ANSWERED else 0
        if len(given) != expected:
            raise PurebenchError(
                f"draws[{row}]: expected {expected} verification draws of an image that is {outcome}, but got "
                f"{len(given)}."
            )
        if expected and (2 * given.count("1") > count) != (outcome is Outcome.ROBUST):
            raise PurebenchError(f"outcomes[{row}]: {outcome} contradicts the draws {shown(given)}.")


def _agree(outcomes: Sequence[Outcome], draws: Sequence[str], count: int) -> bool:
    """Return True if all images are answered and the outcomes agree with the draws, False if `check_draws` decides."""
    try:
        return len(outcomes) == len(draws) and all(map(is_, outcomes, map(outcomes_of(count).__getitem__, draws)))
    except KeyError:
        return False


class _OutcomeOfDraws(dict[str, Outcome]):
    """The outcome that each string of `count` draws decides, computed once; KeyError for a string of another length."""

    def __init__(self, count: int):
        self.count = count

    def __missing__(self, draws: str) -> Outcome:
        if not 0 < self.count == len(draws):
            raise KeyError(draws)
        if len(self) >= MOST_STRINGS:
            self.clear()
        self[draws] = found = Outcome.ROBUST if 2 * draws.count("1") > self.count else Outcome.MISCLASSIFIED
        return found


@lru_cache(64)
def outcomes_of(count: int) -> Mapping[str, Outcome]:
    """Return a mapping from the strings of `count` draws to the outcomes that they decide; KeyError for others."""
    return _OutcomeOfDraws(count)


def check_known(right: Sequence[int | None], seeds: int) -> None:
    """Check the counts of right answers under known randomness.

    Args:
        right: Under how many seeds the frozen defense was right, one value per image or none at all.
        seeds: The number of seeds.

    Raises:
        PurebenchError: If a count exceeds the number of seeds, or only one of both is given.
    """
    if bool(right) != (seeds > 0):
        raise PurebenchError(f"known_right: expected counts if and only if there are seeds, but got {seeds} seeds.")
    for row, count in enumerate(right):
        if count is not None and count > seeds:
            raise PurebenchError(f"known_right[{row}]: expected at most {seeds}, the number of seeds, but got {count}.")


def check_looks(attacked: Sequence[LookCount | None], clean: Sequence[LookCount | None]) -> None:
    """Check the counts of looks: each is consistent, and the clean image had as many looks and draws.

    Args:
        attacked: The counts of the attack, one per image or none at all.
        clean: The counts at the clean images.

    Raises:
        PurebenchError: If they contradict each other.
    """
    if len(attacked) != len(clean):
        raise PurebenchError(f"clean_looks: expected {len(attacked)} counts, as looks has, but got {len(clean)}.")
    for row, (one, other) in enumerate(zip(attacked, clean, strict=True)):
        for name, count in (("looks", one), ("clean_looks", other)):
            if count is not None and not _possible(count):
                raise PurebenchError(
                    f"{name}[{row}]: the numbers of looks, draws and wrong draws contradict each other."
                )
        taken, expected = _taken(other), _taken(one)
        if taken != expected:
            raise PurebenchError(
                f"clean_looks[{row}]: expected as many looks and draws as in looks, {expected}, but got {taken}."
            )


def _possible(count: LookCount) -> bool:
    """Return whether the numbers of looks, draws and wrong draws of an image are possible."""
    several = count.looks <= count.draws if count.looks else not count.draws
    share = count.wrong / count.draws if count.draws else 0.0
    mean = share - 1e-9 <= count.most and (count.most > 0) == (count.wrong > 0)
    return several and count.wrong <= count.draws and mean and (count.wrong > 0 or not count.plurality_wrong)


def _taken(count: LookCount | None) -> tuple[int, int] | None:
    return None if count is None else (count.looks, count.draws)


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
