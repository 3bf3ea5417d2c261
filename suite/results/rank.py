"""Results → rows in the order of robust accuracy, with all that a table of any kind shows of them.

A rank is a plain position, the same for rows whose robust and clean accuracy are the same; `place` says how sure it is:
between which ranks the row lies, and which others it cannot be told apart from (see `standing`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from purebench.core.warning_codes import ResultWarning
from purebench.records.record import Outcome
from purebench.results.certificates import certificates, certifies
from purebench.results.errored import ErrorReason, errors_of
from purebench.results.gradient_masking import doubts
from purebench.results.results import CLEAN, AttackResult, DefenseResult, spec_text
from purebench.results.standing import Place, Standing, standing
from purebench.statistics import Estimate, OutcomeShares, outcome_shares


@dataclass(frozen=True)
class Cell:
    """One attack on one defense: its accuracy (None if SKIPPED); images that ERRORED count as wrong.

    spared: images that a cascade spared it, so that its accuracy is conditional; exhausted: those were all of them.
    """

    attack: str
    estimate: Estimate | None
    errored: int
    failed: bool
    spared: int = 0
    exhausted: bool = False


@dataclass(frozen=True)
class Cost:
    """What an evaluation took.

    seconds: wall time of all jobs; forwards, backwards: images passed by all attacks and their verification;
    draw_ms: milliseconds to verify one image once; None where the phase "verify" was not timed.
    """

    seconds: float
    forwards: int
    backwards: int
    draw_ms: float | None


@dataclass(frozen=True)
class Row:
    """A defense on a board. rank, robust: None where something ERRORED, which `reason` then explains, and where the
    board's attacks do not apply.

    robust: accuracy at the picked adversarial examples. bounds: its lower and upper bound where images ERRORED, with
    all of these wrong and all right. bracket: ends for the mean of min_a q of a random defense. shares: of images by
    their share of right draws.
    place: where it stands among all, None where they share no image. strongest: the attack with the lowest accuracy
    where it did not ERROR; in a cascade, where those are conditional, the one that broke the most images.
    clean: None where it ERRORED or the board has none. certified: share of images that the defense proves to hold at
    the threat's radius, None where nothing was proven. errored: images on which some attack ERRORED. warnings: why
    the robust accuracy may be too high.
    """

    rank: int | None
    result: DefenseResult = field(repr=False)
    clean: Estimate | None
    robust: Estimate | None
    cells: tuple[Cell, ...]
    strongest: str | None
    errored: int
    reason: str
    cost: Cost
    place: Place | None = None
    certified: Estimate | None = None
    warnings: tuple[ResultWarning, ...] = ()
    bounds: tuple[Estimate, Estimate] | None = None
    bracket: Estimate | None = None
    shares: OutcomeShares | None = None

    @property
    def name(self) -> str:
        """The defense's name."""
        return self.result.name

    @property
    def spec(self) -> str:
        """The defense's spec, as one writes it."""
        return spec_text(self.result.spec)

    @property
    def errors(self) -> tuple[ErrorReason, ...]:
        """Why images ERRORED: each distinct reason once, with its attacks and how many images of each."""
        return errors_of(self.result.attacks)

    @property
    def random(self) -> bool:
        """Whether the defense is random."""
        return self.result.random


def rank(results: Iterable[DefenseResult]) -> list[Row]:
    """The rows by robust accuracy, then clean accuracy, then name; last those of which nothing is known.

    Raises PurebenchError where a worst case cannot be estimated (see `DefenseResult.robust`).
    """
    rows = sorted((_row(result) for result in results), key=_order)
    known = [row.result for row in rows if not _unknown(row)]
    found = standing(known)
    ranked: list[Row] = []
    for position, row in enumerate(rows):
        if _unknown(row):
            ranked.append(row)
            continue
        equal = bool(ranked) and _order(row)[:-1] == _order(ranked[-1])[:-1]
        place = None if found is None else found.places[row.name]
        ranked.append(replace(row, rank=ranked[-1].rank if equal else position + 1, place=place))
    return ranked


def standing_of(results: Iterable[DefenseResult]) -> Standing | None:
    """Where the rows stand that have a rank, best first; None where there are none, or they share no image."""
    rows = sorted((_row(result) for result in results), key=_order)
    return standing([row.result for row in rows if not _unknown(row)])


def shares_of_images(result: DefenseResult) -> OutcomeShares | None:
    """Shares of images by their share of right fresh draws; None for a deterministic defense, and with errors."""
    scored = result.scored
    if not result.random or not scored.any() or result.errored:
        return None
    right = np.count_nonzero(result.fresh[scored], axis=1)
    return outcome_shares(right, result.fresh_draws, result.board["confidence"])


def cost_of(result: DefenseResult) -> Cost:
    """The cost of all jobs of a defense."""
    attacks, picking = cost(result.attacks), result.worst_case
    return replace(
        attacks, seconds=attacks.seconds + sum(picking.seconds.values()), forwards=attacks.forwards + picking.forwards
    )


def cost(attacks: Sequence[AttackResult]) -> Cost:
    """What these attacks and their verification took."""
    draws = sum(len(answers) for attack in attacks for answers in attack.draws)
    verify = sum(attack.seconds.get("verify", 0.0) for attack in attacks)
    return Cost(
        seconds=sum(sum(attack.seconds.values()) for attack in attacks),
        forwards=sum(attack.forwards for attack in attacks),
        backwards=sum(attack.backwards for attack in attacks),
        draw_ms=1000 * verify / draws if draws and verify else None,
    )


def _row(result: DefenseResult) -> Row:
    cells = tuple(_cell(result, attack) for attack in result.attacks)
    reasons = [reason for attack in result.attacks for reason in attack.reasons]
    reasons += result.worst_case.reasons if result.errored else ()
    proven = certificates(result)
    return Row(
        rank=None,
        result=result,
        clean=None if any(cell.failed for cell in cells if cell.attack == CLEAN) else result.clean,
        robust=result.robust if result.attacked else None,
        cells=cells,
        strongest=_most_broken(result) if result.cascade else _lowest(cells, _no_attacks(result)),
        errored=result.errored,
        reason=reasons[0] if reasons else "",
        cost=cost_of(result),
        certified=None if proven is None else proven.estimate,
        warnings=() if result.failed else doubts(result),
        bounds=result.bounds if result.attacked else None,
        bracket=result.bracket if result.attacked else None,
        shares=shares_of_images(result) if result.attacked else None,
    )


def _cell(result: DefenseResult, attack: AttackResult) -> Cell:
    spared = result.spared(attack)
    return Cell(
        attack.name,
        result.accuracy(attack),
        attack.count(Outcome.ERRORED),
        attack.failed,
        int(spared.sum()),
        bool(spared.all()),
    )


def _no_attacks(result: DefenseResult) -> set[str]:
    """The names of what changes nothing: the clean images, and certificates."""
    return {CLEAN, *(attack.name for attack in result.attacks if certifies(attack))}


def _most_broken(result: DefenseResult) -> str | None:
    """The attack that broke the most images; the first of the board's order where several did."""
    none = _no_attacks(result)
    asked = (
        attack for attack in result.attacks if attack.name not in none and not attack.skipped and not attack.failed
    )
    strongest = max(asked, key=lambda attack: attack.count(Outcome.MISCLASSIFIED), default=None)
    return None if strongest is None else strongest.name


def _lowest(cells: Iterable[Cell], no_attacks: Collection[str]) -> str | None:
    """The attack with the lowest accuracy over the images it answered for: an error is not strength."""
    found = {
        cell.attack: cell.estimate.value * cell.estimate.n / (cell.estimate.n - cell.errored)
        for cell in cells
        if cell.attack not in no_attacks and cell.estimate is not None and not cell.failed
    }
    return min(found, key=lambda attack: found[attack]) if found else None


def _unknown(row: Row) -> bool:
    return row.robust is None


def _order(row: Row) -> tuple[bool, float, float, str]:
    return (
        _unknown(row),
        -row.robust.value if row.robust else -row.bounds[1].value if row.bounds else 0.0,
        -row.clean.value if row.clean else 0.0,
        row.name,
    )
