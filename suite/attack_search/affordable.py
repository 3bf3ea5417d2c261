"""Chooses which candidates fit the time of a search, by their expected time on the first dev images.

An estimate of the time alone leaves no view untried: the remedies of the portfolio that are too expensive are tried
with fewer steps, and then with fewer EOT samples, if no other candidate with their view fits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from purebench.attack_search.candidate import AttackCandidate, Step

LARGEST_SHARE = 0.15
"""Share of the time of the search that a candidate may take on the first dev images."""
LEAST_STEPS, LEAST_QUERIES = 5, 50
"""Effort below which a candidate is not reduced."""
REDUCED = ", with less effort because of the time"


@dataclass(frozen=True)
class LeftOut:
    """A candidate that was left out because of its expected time.

    Attributes:
        candidate: The candidate.
        seconds: Its expected time on the first dev images.
        limit: The time that was allowed.
    """

    candidate: AttackCandidate
    seconds: float
    limit: float

    @property
    def reason(self) -> str:
        """The reason in words."""
        return f"about {self.seconds:.0f} s on the first dev images, more than the {self.limit:.0f} s that are allowed"


@dataclass(frozen=True)
class TimeLimits:
    """The time of a search.

    Attributes:
        per_pass: Expected seconds of a purifier pass of all first dev images.
        per_substitute: The same of a pass of another model or of a part of the defense, which may cost much less or, of
            a surrogate, as much; None if that is not known.
        seconds: Time of the whole search.
        left: Seconds left.
    """

    per_pass: float
    seconds: float
    left: float
    per_substitute: float | None = None

    @property
    def limit(self) -> float:
        """The time that a candidate may take on the first dev images."""
        return LARGEST_SHARE * self.seconds

    def of(self, candidate: AttackCandidate) -> float:
        """Return the expected seconds of a candidate on the first dev images."""
        other = self.per_pass if self.per_substitute is None else self.per_substitute
        return candidate.passes_of(substitute=False) * self.per_pass + candidate.passes_of(substitute=True) * other


def affordable(
    candidates: Sequence[AttackCandidate], tried: Collection[AttackCandidate], time: TimeLimits
) -> tuple[list[AttackCandidate], list[LeftOut]]:
    """Return the candidates that are run, in their order, and those that are left out.

    A candidate of the portfolio that is too expensive is reduced if its view was not tried and no other candidate with
    it fits. It is left out only if even that would take more than the time that is left.

    Args:
        candidates: New candidates.
        tried: The candidates that were measured before.
        time: The time of the search.
    """
    fit = {one.name for one in candidates if time.of(one) <= time.limit}
    views = {view for one in (*tried, *(one for one in candidates if one.name in fit)) for view in one.views}
    kept: list[AttackCandidate] = []
    out: list[LeftOut] = []
    for one in candidates:
        untried = one.point is None and not one.views <= views
        less = reduced(one, time) if untried else one
        if one.name in fit:
            kept.append(one)
        elif untried and time.of(less) <= time.left:
            kept.append(less)
            views |= one.views
        else:
            out.append(LeftOut(one, time.of(less), time.left if untried else time.limit))
    return kept, out


def reduced(candidate: AttackCandidate, time: TimeLimits) -> AttackCandidate:
    """Return the candidate with half of the effort, again and again until it fits the time or has the least effort."""
    steps = candidate.steps
    found = candidate
    while time.of(found) > time.limit:
        steps = tuple(map(_half, steps))
        less = AttackCandidate(steps, candidate.why + REDUCED, candidate.point)
        if less.steps == found.steps:
            break
        found = less
    return found


def _half(step: Step) -> Step:
    """Return a step with half of its steps or queries; with the least of these, with half of its EOT samples."""
    for name, least in (("steps", LEAST_STEPS), ("queries", LEAST_QUERIES)):
        if (now := int(step.params.get(name, 0))) > least:
            return replace(step, params={**step.params, name: max(least, now // 2)})
    return replace(step, eot=max(1, step.eot // 2))
