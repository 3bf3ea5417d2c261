"""The search for an attack: the portfolio, then brackets of proposed candidates, until the time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from purebench.attack_search.affordable import LeftOut, TimeLimits, affordable
from purebench.attack_search.bench import DEV_BLOCK, AttackBench
from purebench.attack_search.candidate import AttackCandidate
from purebench.attack_search.halving import MOST_PARTS, Halving, OutOfTime, Score, composition, halve, rungs
from purebench.attack_search.portfolio import portfolio
from purebench.attack_search.space import AXES, at
from purebench.core.errors import PurebenchError
from purebench.execution.interruption import Stopped
from purebench.statistics.design.propose import Point, find_proposer

BRACKET = 9
"""Proposed candidates of a bracket."""
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
class SearchResult:
    """The result of a search.

    Attributes:
        halving: All candidates and scores.
        clean: The score without an attack; None if the search was interrupted before it was measured.
        brackets: Number of finished brackets, those of the portfolio included.
        expensive: Candidates that were left out because one run would take too much of the time.
        unreached: Candidates of the portfolio that were not reached before the search ended.
        reduced: Names of the candidates of the portfolio that were replaced by ones with less effort.
        empty: Number of brackets in a row that had no new candidate.
        ended: Why the search ended: `time`, `broken` (no dev image is left), `exhausted` (no new candidate fits the
            time), `evaluations`, or `interrupted`.
        spent: Seconds of all its records, divided by the number of processes.
        passes: Purifier passes of all its records.
    """

    halving: Halving
    clean: Score | None = None
    brackets: int = 0
    expensive: list[LeftOut] = field(default_factory=list)
    unreached: list[AttackCandidate] = field(default_factory=list)
    empty: int = 0
    reduced: set[str] = field(default_factory=set)
    ended: str = "time"
    spent: float = 0.0
    passes: int = 0

    @property
    def winner(self) -> tuple[AttackCandidate, int] | None:
        """The strongest candidate, and the number of dev images that it was measured on."""
        return self.halving.best


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
    bench: AttackBench,
    *,
    seed: int,
    how: str = "auto",
    evaluations: int | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Search for the strongest attack on dev images.

    The same seed proposes the same candidates in the same order. Which of them are left out as too expensive, and how
    many are reached, depends on the time that passes take.

    Args:
        bench: Measures candidates.
        seed: Decides the proposals.
        how: Proposer: gp, random or auto.
        evaluations: Largest number of candidates, compositions included; None for no limit but the time.
        progress: Called as the work proceeds with a description, seconds spent and the seconds of the search.

    Returns:
        The result, also if the search was interrupted by Ctrl-C.

    Raises:
        PurebenchError: If the defense does not answer, or no candidate was finished in time.
    """
    propose = find_proposer(find_how(how))
    halving = Halving(rungs(bench.images, DEV_BLOCK))
    found = SearchResult(halving)

    def tell() -> None:
        if progress is not None:
            best = halving.best
            text = "searching" if best is None else f"best {100 * halving.scores[best[1]][best[0].name].accuracy:.0f} %"
            count = f"{len(halving.candidates)} candidates, {text}"
            progress(count, int(min(bench.spent, bench.seconds)), int(bench.seconds))

    bench.tell = tell
    try:
        tell()
        found.clean = bench.clean()
        if found.clean.right is None:
            raise PurebenchError(f"break: expected a defense that answers the dev images, but: {found.clean.why}")
        bench.measure(portfolio(bench.known)[:1], halving.rungs[0])  # shows what a pass costs in an attack
        found.ended = _run_brackets(bench, found, propose, seed, evaluations)
    except OutOfTime:
        found.ended = "time"
    except (Stopped, KeyboardInterrupt):
        found.ended = "interrupted"
    found.spent, found.passes = bench.spent, bench.passes
    done = {*halving.candidates, *(one.candidate.name for one in found.expensive), *found.reduced}
    found.unreached = [one for one in portfolio(bench.known) if one.name not in done]
    if found.winner is None and found.ended != "interrupted":
        raise PurebenchError(
            "break: expected at least one finished candidate, but the time was over before; increase --hours, or use "
            "fewer images (--images)."
        )
    return found


def _run_brackets(
    bench: AttackBench, found: SearchResult, propose: Callable[..., Point], seed: int, evaluations: int | None
) -> str:
    """Run brackets of candidates, and return why the search ended.

    Raises:
        OutOfTime: If the time is over.
    """
    halving, most = found.halving, float("inf") if evaluations is None else evaluations
    points: list[Proposed] = []
    while found.empty < MOST_EMPTY:
        if len(halving.candidates) >= most:
            return "evaluations"
        first = portfolio(bench.known)[found.brackets * GROUP : (found.brackets + 1) * GROUP]
        made = first or _bracket(bench, halving, points, propose, seed)
        candidates = _affordable(made, bench, found)
        candidates = candidates[: None if evaluations is None else evaluations - len(halving.candidates)]
        found.empty = 0 if candidates else found.empty + 1
        halve(candidates, halving, bench.measure)
        seen = halving.scores.get(halving.rungs[0], {})
        points += [
            Proposed(one.point, -seen[one.name].accuracy if one.name in seen else -1.0)
            for one in made
            if one.point is not None
        ]
        found.brackets += 1
        whole = composition(halving)
        if whole is not None and whole.name not in halving.candidates and len(halving.candidates) < most:
            halving.add([whole], bench.images, bench.measure([whole], bench.images))
        if halving.best is not None and halving.scores[halving.best[1]][halving.best[0].name].accuracy == 0:
            return "broken"
    return "exhausted"


def _affordable(
    candidates: Sequence[AttackCandidate], bench: AttackBench, found: SearchResult
) -> list[AttackCandidate]:
    """Return the new candidates that fit the time on the first rung; the others are noted. The first always fits."""
    known = {*found.halving.candidates, *found.reduced, *(one.candidate.name for one in found.expensive)}
    new = list({one.name: one for one in candidates if one.name not in known}.values())
    first = new[:1] if found.brackets == 0 else []
    images = found.halving.rungs[0]
    share = images / bench.workers
    other = None if bench.other_price is None else bench.other_price * share
    time = TimeLimits(bench.price * share, bench.seconds, bench.left, other)
    kept, out = affordable(new[len(first) :], [*found.halving.candidates.values(), *first], time)
    names = {one.name for one in (*kept, *(left.candidate for left in out))}
    found.reduced |= {one.name for one in new[len(first) :] if one.name not in names}
    found.expensive += out
    return [*first, *(one for one in kept if one.name not in known)]


def _bracket(
    bench: AttackBench, halving: Halving, points: Sequence[Proposed], propose: Callable[..., Point], seed: int
) -> list[AttackCandidate]:
    """Return the candidates of the next bracket; while they are not measured, they count as the mean so far."""
    best = halving.best
    assumed = list(points)
    mean = sum(one.value for one in assumed) / len(assumed) if assumed else -1.0
    made: list[AttackCandidate] = []
    for _ in range(BRACKET):
        point = propose(assumed, AXES, seed)
        assumed.append(Proposed(point, mean))
        made.append(at(point, bench.known, best[0] if best and len(best[0].steps) < MOST_PARTS else None))
    return made
