"""The search for an attack: the portfolio, then brackets of proposed candidates, until the time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from purebench.attack_search.bench import BLOCK, Bench
from purebench.attack_search.candidate import Candidate
from purebench.attack_search.halving import MOST_PARTS, Ladder, OutOfTime, Score, composition, halve, rungs
from purebench.attack_search.portfolio import portfolio
from purebench.attack_search.space import AXES, at
from purebench.core.errors import PurebenchError
from purebench.execution.interruption import Stopped
from purebench.statistics.design.propose import Point, find_proposer

BRACKET = 9
"""Proposed candidates of a bracket."""
LARGEST_SHARE = 0.15
"""Share of the time of the search that a candidate may take on the first rung."""
GROUP = 6
"""Candidates of the portfolio in a bracket, so that a search whose first candidates leave no image ends soon."""
MOST_EMPTY = 20
"""Brackets in a row without a new candidate, after which the search ends."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Proposed:
    """A proposed point and its value, the negative accuracy on the first rung."""

    point: Point
    value: float


@dataclass
class Found:
    """The result of a search.

    Attributes:
        ladder: All candidates and scores.
        clean: The score without an attack.
        brackets: Number of finished brackets, those of the portfolio included.
        expensive: Candidates that were left out because one run would take too much of the time.
        empty: Number of brackets in a row that had no new candidate.
        ended: Why the search ended: `time`, `broken` (no dev image is left), `exhausted` (no new candidate fits the
            time), `evaluations`, or `interrupted`.
        spent: Seconds of all its records, divided by the number of processes.
        passes: Purifier passes of all its records.
    """

    ladder: Ladder
    clean: Score
    brackets: int = 0
    expensive: list[Candidate] = field(default_factory=list)
    empty: int = 0
    ended: str = "time"
    spent: float = 0.0
    passes: int = 0

    @property
    def winner(self) -> tuple[Candidate, int] | None:
        """The strongest candidate, and the number of dev images that it was measured on."""
        return self.ladder.best


def find_how(how: str) -> str:
    """Return the name of the proposer: auto is gp if Optuna is installed, else random.

    Raises:
        PurebenchError: If it is unknown, or Optuna is needed but not installed.
    """
    if how != "auto":
        find_proposer(how)((), AXES, 0)
        return how
    try:
        import optuna  # noqa: F401
    except ImportError:
        return "random"
    return "gp"


def search(
    bench: Bench, *, seed: int, how: str = "auto", evaluations: int | None = None, progress: Progress | None = None
) -> Found:
    """Search for the strongest attack on dev images. The same seed gives the same candidates in the same order.

    Args:
        bench: Measures candidates.
        seed: Decides the proposals.
        how: Proposer: gp, random or auto.
        evaluations: Largest number of candidates; None for no limit but the time.
        progress: Called as the work proceeds with a description, seconds spent and the seconds of the search.

    Returns:
        The result, also if the search was interrupted by Ctrl-C after the first score.

    Raises:
        PurebenchError: If the defense does not answer, or no candidate was finished.
    """
    propose = find_proposer(find_how(how))
    ladder = Ladder(rungs(bench.images, BLOCK))

    def tell() -> None:
        if progress is not None:
            best = ladder.best
            text = "searching" if best is None else f"best {100 * ladder.scores[best[1]][best[0].name].accuracy:.0f} %"
            count = f"{len(ladder.candidates)} candidates, {text}"
            progress(count, int(min(bench.spent, bench.seconds)), int(bench.seconds))

    bench.tell = tell
    tell()
    found = Found(ladder, bench.clean())
    if found.clean.right is None:
        raise PurebenchError(f"break: expected a defense that answers the dev images, but: {found.clean.why}")
    points: list[Proposed] = []
    try:
        bench.measure(portfolio(bench.known)[:1], ladder.rungs[0])  # shows what a pass costs in an attack
        while found.empty < MOST_EMPTY:
            first = portfolio(bench.known)[found.brackets * GROUP : (found.brackets + 1) * GROUP]
            made = first or _bracket(bench, ladder, points, propose, seed)
            candidates = _affordable(made, bench, found)
            if evaluations is not None:
                candidates = candidates[: max(0, evaluations - len(ladder.candidates))]
            if evaluations is not None and not candidates:
                found.ended = "evaluations"
                break
            found.empty = 0 if candidates else found.empty + 1
            halve(candidates, ladder, bench.measure)
            seen = ladder.scores[ladder.rungs[0]]
            points += [
                Proposed(one.point, -seen[one.name].accuracy if one.name in seen else -1.0)
                for one in made
                if one.point is not None
            ]
            found.brackets += 1
            whole = composition(ladder)
            if whole is not None and whole.name not in ladder.candidates:
                ladder.add([whole], bench.images, bench.measure([whole], bench.images))
            if ladder.best is not None and ladder.scores[ladder.best[1]][ladder.best[0].name].accuracy == 0:
                found.ended = "broken"
                break
        else:
            found.ended = "exhausted"
    except OutOfTime:
        found.ended = "time"
    except (Stopped, KeyboardInterrupt):
        found.ended = "interrupted"
    found.spent, found.passes = bench.spent, bench.passes
    if found.winner is None and found.ended != "interrupted":
        raise PurebenchError(
            "break: expected at least one finished candidate, but the time was over before; increase --hours, or use "
            "fewer images (--images)."
        )
    return found


def _affordable(candidates: Sequence[Candidate], bench: Bench, found: Found) -> list[Candidate]:
    """Return the candidates that fit the time on the first rung; the others are noted. The first always fits."""
    kept: list[Candidate] = []
    images = found.ladder.rungs[0]
    for place, one in enumerate(candidates):
        if one.name in found.ladder.candidates or one.name in {other.name for other in kept}:
            continue
        seconds = one.passes() * bench.price * images / bench.workers
        if (found.brackets == 0 and place == 0) or seconds <= LARGEST_SHARE * bench.seconds:
            kept.append(one)
        elif one.name not in {other.name for other in found.expensive}:
            found.expensive.append(one)
    return kept


def _bracket(
    bench: Bench, ladder: Ladder, points: Sequence[Proposed], propose: Callable[..., Point], seed: int
) -> list[Candidate]:
    """Return the candidates of the next bracket; while they are not measured, they count as the mean so far."""
    best = ladder.best
    told = list(points)
    mean = sum(one.value for one in told) / len(told) if told else -1.0
    made: list[Candidate] = []
    for _ in range(BRACKET):
        point = propose(told, AXES, seed)
        told.append(Proposed(point, mean))
        made.append(at(point, bench.known, best[0] if best and len(best[0].steps) < MOST_PARTS else None))
    return made
