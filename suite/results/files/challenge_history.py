"""The history of a standing challenge: a JSON file beside the results, to which events are only ever appended.

Each submission is an event before it is evaluated, so that a killed evaluation counts too, and another event once it is
decided. The number k of a submission counts those of the same defense, whatever the name of its row, and those of the
same row, whatever its spec, code, weights or seed: neither another name nor another spec starts a new count. Each event
has the hash of the one before it, so that a changed or deleted event in the middle is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field

from purebench.core.errors import PurebenchError
from purebench.core.files.strict_json import MOST_BYTES
from purebench.core.files.text import read_text
from purebench.core.files.versioned_model import STRICT, Fraction, Line, Text, Whole, from_json
from purebench.core.seeds import hash_of
from purebench.results.results import DefenseResult
from purebench.statistics import Estimate

SCHEMA: Final = 1
FOLDER = "challenges"
"""Folder of the history, and of the adversarial examples that were accepted, in a folder of results."""
HISTORY = "history.json"
CURE = "use the version of purebench that wrote it"
OF_BOARD = ("classifier", "threat", "seed")
"""Settings of a board that belong to the identity of a defense and its bound."""


@dataclass(frozen=True)
class Bound:
    """An estimate in a history.

    Attributes:
        value: the accuracy, in [0,1].
        low: the lower end of the interval.
        high: the upper end of the interval.
        confidence: the confidence of the interval.
        n: the number of images.
        method: the method of the interval.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    value: Fraction
    low: Fraction
    high: Fraction
    confidence: Fraction
    n: Annotated[int, Field(ge=1)]
    method: Line

    @property
    def estimate(self) -> Estimate:
        """The estimate."""
        return Estimate(**asdict(self))


@dataclass(frozen=True)
class Submitted:
    """A submission, before it is evaluated.

    Attributes:
        number: k, which counts the submissions to this row and this defense.
        defense: the identity of the defense (see `identity`).
        row: the name of its row.
        author: the author, as given.
        note: a remark of the author.
        file: the sha256 of the submitted file.
        images: the number of submitted examples.
        level: the level of the test.
        seed: the seed of the draws, which nobody could know before the submission.
        date: the time in UTC.
        previous: the hash of the event before this one; "" for the first.
        kind: "submitted".
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    number: Annotated[int, Field(ge=1)]
    defense: Line
    row: Line
    author: Line
    note: Text
    file: Line
    images: Annotated[int, Field(ge=1)]
    level: Fraction
    seed: Whole
    date: Line
    previous: Line = ""
    kind: Literal["submitted"] = "submitted"


@dataclass(frozen=True)
class Decided:
    """The decision on a submission.

    Attributes:
        number: k of the submission.
        defense: the identity of the defense.
        accepted: whether the bound is lowered.
        p_value: of the test.
        better: the number of pairs of draws for the submission.
        worse: the number of pairs of draws against it.
        picked: the number of images at which the submitted example was picked.
        before: the bound before.
        after: the bound at the new examples; None if it was not accepted.
        examples: the sha256 of the file of the new examples; "" if it was not accepted.
        previous: the hash of the event before this one.
        kind: "decided".
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    number: Annotated[int, Field(ge=1)]
    defense: Line
    accepted: bool
    p_value: Fraction
    better: Whole
    worse: Whole
    picked: Whole
    before: Bound
    after: Bound | None = None
    examples: Line = ""
    previous: Line = ""
    kind: Literal["decided"] = "decided"


Event = Submitted | Decided


@dataclass(frozen=True)
class History:
    """All events of the challenges of a folder of results.

    Attributes:
        events: the events in their order.
        schema: the version of this schema.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    events: tuple[Annotated[Event, Field(discriminator="kind")], ...] = ()
    schema: Literal[1] = SCHEMA

    def submissions(self, defense: str) -> list[tuple[Submitted, Decided | None]]:
        """Return the submissions to a defense with their decisions; None for one that was killed or still runs."""
        decided = {
            event.number: event for event in self.events if isinstance(event, Decided) and event.defense == defense
        }
        every = [event for event in self.events if isinstance(event, Submitted) and event.defense == defense]
        return [(event, decided.get(event.number)) for event in every]

    def best(self, defense: str) -> Decided | None:
        """Return the last accepted decision on a defense; None if there is none."""
        accepted = [found for _, found in self.submissions(defense) if found is not None and found.accepted]
        return accepted[-1] if accepted else None

    def next_number(self, defense: str, row: str) -> int:
        """Return k of the next submission to a row.

        Args:
            defense: the identity of the defense.
            row: the name of the row.
        """
        counts = _Counts()
        for event in self.events:
            if isinstance(event, Submitted):
                counts.add(event)
        return counts.of(defense, row) + 1

    def with_event(self, event: Event) -> History:
        """Return the history with one event more, which has the hash of the event before it."""
        linked = {**_fields(event), "previous": event_hash(self.events[-1]) if self.events else ""}
        return History((*self.events, type(event)(**linked)))


def identity(result: DefenseResult) -> str:
    """Return the identity of a defense on its board: its spec, code and weights, the images and the threat model.

    The names of the row and of the board do not count, nor do the attacks.

    Args:
        result: the result of the defense.
    """
    board = {name: result.board.get(name) for name in OF_BOARD}
    return hash_of(
        {
            "spec": dict(result.spec),
            "code": result.provenance.get("code", {}).get("defense"),
            "weights": result.weights,
            "data": result.provenance.get("data"),
            "images": list(result.images),
            "board": board,
        }
    )


def event_hash(event: Event) -> str:
    """Return the sha256 of an event."""
    return hash_of(asdict(event))


def read_history(results: Path) -> History:
    """Read the history of a folder of results.

    Args:
        results: the folder of results.

    Returns:
        The history; an empty one if there is none.

    Raises:
        PurebenchError: the file is of another version, does not match the schema, or was changed.
    """
    path = results / FOLDER / HISTORY
    if not path.is_file():
        return History()
    try:
        found = from_json(History, read_text(path, MOST_BYTES), version=SCHEMA, cure=CURE)
    except PurebenchError as error:
        raise PurebenchError(f"{path}: expected the history of a challenge, but: {error}") from error
    _check(found, path)
    return found


def _check(history: History, path: Path) -> None:
    """Raise PurebenchError if an event was changed, or if numbers do not count up or decisions have no submission."""
    previous, counts, open_ones = "", _Counts(), set[tuple[str, int]]()
    for place, event in enumerate(history.events):
        fault = "" if event.previous == previous else "an event before it was changed or deleted"
        key = (event.defense, event.number)
        if isinstance(event, Submitted):
            due = counts.of(event.defense, event.row) + 1
            fault = fault or ("" if event.number == due else "its number is not the next one")
            counts.add(event)
            open_ones.add(key)
        else:
            fault = fault or ("" if key in open_ones else "it decides no open submission")
            fault = fault or ("" if event.accepted == (event.after is not None) else "it is accepted without a bound")
            open_ones.discard(key)
        if fault:
            raise PurebenchError(f"{path}: expected an unchanged history, but at event {place + 1}: {fault}.")
        previous = event_hash(event)


class _Counts:
    """The number of submissions to rows and defenses; those that a submission connects are counted together."""

    def __init__(self) -> None:
        self._group: dict[tuple[str, str], int] = {}
        self._count: dict[int, int] = {}

    def of(self, defense: str, row: str) -> int:
        """Return the number of submissions to a defense, to a row, and to all that are connected with them."""
        return sum(self._count[group] for group in self._groups(defense, row))

    def add(self, event: Submitted) -> None:
        """Count a submission, and connect its row with its defense."""
        groups, count = self._groups(event.defense, event.row), self.of(event.defense, event.row)
        new = len(self._count)
        self._count[new] = count + 1
        for key, group in self._group.items():
            if group in groups:
                self._group[key] = new
        self._group["defense", event.defense] = self._group["row", event.row] = new

    def _groups(self, defense: str, row: str) -> set[int]:
        keys = (("defense", defense), ("row", row))
        return {self._group[key] for key in keys if key in self._group}


def _fields(event: Event) -> Mapping[str, Any]:
    return {field.name: getattr(event, field.name) for field in fields(event)}
