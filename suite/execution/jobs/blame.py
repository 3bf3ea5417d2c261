"""Finds the images that make a job fail, so that the others keep their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Generic, TypeVar

from purebench.core.answers import WholeFault
from purebench.core.compute.batching import out_of_memory
from purebench.core.errors import Inapplicable

T = TypeVar("T")

Work = Callable[[list[int]], T]
"""work(rows): processes the images of these rows, and raises an error if one of them fails."""


@dataclass(frozen=True)
class Isolated(Generic[T]):
    """The result of work whose failing rows were left out.

    Attributes:
        rows: the rows that work.
        found: the result for these rows together, None if there are none.
        faults: the errors of the other rows.
    """

    rows: list[int]
    found: T | None
    faults: dict[int, BaseException]


def isolate(work: Work[T], rows: Sequence[int], cheap: Work[object] | None = None) -> Isolated[T]:
    """Run the work for all rows that succeed together, and leave out the rows that fail.

    If the work fails, failing rows are searched by bisection, with the cheap work first. A fault that is common to all
    images costs only a few runs: if the first, the middle and the last row fail alone with the same message, the fault
    is attributed to all rows.

    Args:
        work: the work.
        rows: the rows to process.
        cheap: cheaper work, with which failing rows are searched first; None for none.

    Returns:
        The rows that succeed with their result, and the errors of the other rows.

    Raises:
        Inapplicable: raised by the work.
    """
    left, faults = list(rows), dict[int, BaseException]()
    error: BaseException | None = None
    searches = [test for test in (cheap, work) if test is not None]
    while left:
        found: list[T] = []
        error = _error(found, work, left)
        if error is None:
            return Isolated(left, found[0], faults)
        if isinstance(error, WholeFault) or out_of_memory(error):
            break
        culprits: dict[int, BaseException] = {}
        while searches and not culprits:
            test = searches.pop(0)
            met = error if test is work else _error([], test, left)
            culprits = {} if met is None else _Search(test, len(left)).of(left, met)
        if not culprits:
            break
        faults |= culprits
        left = [row for row in left if row not in culprits]
    return Isolated([], None, {**faults, **({} if error is None else dict.fromkeys(left, error))})


def _error(found: list[T], work: Work[T], rows: list[int]) -> BaseException | None:
    """Return the error that the work raises, or None; the result of the work is appended to the list."""
    try:
        found.append(work(rows))
    except Inapplicable:
        raise
    except (Exception, SystemExit) as error:  # a library or a defense may raise any error
        return error
    return None


class _Search:
    """Bisection with a limited number of runs; when they are used up, all rows in question are blamed."""

    def __init__(self, test: Work[object], rows: int):
        self.test, self.left = test, 4 * ceil(log2(max(rows, 2))) + 8

    def of(self, rows: list[int], error: BaseException) -> dict[int, BaseException]:
        """Return the failing rows among rows that fail together; empty if no row fails without the others."""
        singles = sorted({rows[0], rows[len(rows) // 2], rows[-1]})
        if len(rows) > len(singles):
            alone = [self._run([row]) for row in singles]
            if all(one is not None and same(one, error) for one in alone):
                return dict.fromkeys(rows, error)
        return self._halves(rows, error)

    def _halves(self, rows: list[int], error: BaseException) -> dict[int, BaseException]:
        if len(rows) == 1 or self.left <= 0:
            return dict.fromkeys(rows, error)
        found: dict[int, BaseException] = {}
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            if (met := self._run(half)) is not None:
                found |= self._halves(half, met)
        return found

    def _run(self, rows: list[int]) -> BaseException | None:
        self.left -= 1
        return _error([], self.test, rows)


def same(one: BaseException, other: BaseException) -> bool:
    """Return whether two errors have the same type and message; numbers, such as the number of images, are ignored."""
    return type(one) is type(other) and _words(one) == _words(other)


def _words(error: BaseException) -> str:
    return "".join(sign for sign in str(error) if not sign.isdigit())
