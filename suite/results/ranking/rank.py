"""Ranks results by robust accuracy on shared images, and collects everything that a table shows of each row.

A rank is a plain position; rows with equal robust and clean accuracy have the same rank. `place` quantifies its
uncertainty: the interval of ranks in which the row lies, and the rows from which it is statistically indistinguishable
(see `standing`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from purebench.core.warning_codes import ResultWarning
from purebench.records.outcome import Outcome
from purebench.results.attack_result import AttackResult
from purebench.results.certificates import certificates, certifies
from purebench.results.errored import ErrorReason, errors_of
from purebench.results.figures.cost import Cost, cost_of
from purebench.results.grading.best_known import best_known
from purebench.results.grading.criteria.letters import Grade
from purebench.results.grading.gathering import evidence_of
from purebench.results.grading.grade import GradeEvidence, graded
from purebench.results.ranking.standing import RankInterval, Standing, on_shared_images, standing
from purebench.results.results import CLEAN, DefenseResult, spec_text
from purebench.results.scores import comparable
from purebench.statistics import Estimate, OutcomeShares, interval, interval_method, outcome_shares

Order = tuple[bool, float, float, str]
"""The key that sorts rows: whether the robust accuracy is unknown, minus it, minus the clean accuracy, and the name."""


@dataclass(frozen=True)
class AttackScore:
    """One attack on one defense.

    Attributes:
        attack: the name of the attack.
        estimate: the accuracy under the attack, None if it was SKIPPED; images that ERRORED count as wrong.
        errored: the number of images that ERRORED.
        failed: whether every image ERRORED.
        spared: the number of images that were not attacked because of a cascade, which makes the accuracy conditional.
        exhausted: whether no image was attacked because of a cascade.
    """

    attack: str
    estimate: Estimate | None
    errored: int
    failed: bool
    spared: int = 0
    exhausted: bool = False


@dataclass(frozen=True)
class Row:
    """A defense on a board, with everything that a table shows of it.

    Attributes:
        rank: the position by robust accuracy, from 1; None under the same conditions as `robust`.
        result: the result of the defense.
        clean: the clean accuracy; None where an image ERRORED or the board has none.
        robust: the accuracy at the picked adversarial examples (`DefenseResult.robust` in results.py); None where
            something ERRORED, which `reason` then explains, and where the board's attacks do not apply.
        cells: one cell per attack.
        strongest: the attack with the lowest accuracy on images where it did not ERROR; in a cascade, where accuracies
            are conditional, the attack that broke the most images.
        errored: the number of images whose score is unknown because of an error (see `DefenseResult.errored`).
        reason: the first reason of an error; empty without errors.
        cost: the cost of all jobs.
        ranks: the confidence interval of its rank among all rows, None where they share no image.
        certified: the share of images with a certificate at the threat's radius, None where nothing was certified.
        warnings: reasons why the robust accuracy may be too high.
        bounds: the lower and upper bound of the robust accuracy where images ERRORED, with all of these wrong and all
            right.
        bracket: lower and upper limit of the mean of min_a q of a random defense.
        shares: the shares of images by their share of correct draws.
        grade: the grade of the evaluation of this row.
        best_known: the accuracy with the attacks that are bespoke to the row; None without such an attack, and where
            images ERRORED.
    """

    rank: int | None
    result: DefenseResult = field(repr=False)
    clean: Estimate | None
    robust: Estimate | None
    cells: tuple[AttackScore, ...]
    strongest: str | None
    errored: int
    reason: str
    cost: Cost
    ranks: RankInterval | None = None
    certified: Estimate | None = None
    warnings: tuple[ResultWarning, ...] = ()
    bounds: tuple[Estimate, Estimate] | None = None
    bracket: Estimate | None = None
    shares: OutcomeShares | None = None
    grade: Grade | None = field(default=None, repr=False)
    best_known: Estimate | None = None

    @property
    def name(self) -> str:
        """The defense's name."""
        return self.result.name

    @property
    def spec(self) -> str:
        """The defense's spec as text."""
        return spec_text(self.result.spec)

    @property
    def errors(self) -> tuple[ErrorReason, ...]:
        """The distinct reasons why images ERRORED, each with its attacks and their numbers of images."""
        return errors_of(self.result.attacks)

    @property
    def random(self) -> bool:
        """True if the defense is random."""
        return self.result.random


def rank(
    results: Iterable[DefenseResult],
    evidence: GradeEvidence | None = None,
    origin: str = "",
    compare: Callable[[Sequence[DefenseResult]], Standing | None] = standing,
) -> list[Row]:
    """Return the rows sorted by robust accuracy, then clean accuracy, then name; rows without a result come last.

    Rows on different images, as on a board in progress, are sorted by their robust accuracy on the images that all of
    them have, which the intervals of their ranks are of as well; ties by the clean accuracy on their own images.

    Args:
        results: the results of one board.
        evidence: the controls of the board, the convergence of its rows and the indicators of failure, for warnings
            and grades; None for what the results of the rows show alone.
        origin: the board as the user named it, for the commands of the grades; "" if that is not known.
        compare: returns the standing of the rows that have a rank, best first.

    Raises:
        PurebenchError: a worst case cannot be estimated (see `DefenseResult.robust`).
    """
    results = list(results)
    evidence = evidence_of(results, None) if evidence is None else evidence
    rows, order = _sorted(_row(result, evidence.warnings(result)) for result in results)
    known = [row.result for row in rows if not _unknown(row)]
    found = compare(known)
    ranked: list[Row] = []
    for position, row in enumerate(replace(row, grade=graded(row.result, evidence, origin)) for row in rows):
        if _unknown(row):
            ranked.append(row)
            continue
        equal = bool(ranked) and order[row.name][:-1] == order[ranked[-1].name][:-1]
        ranks = None if found is None else found.intervals[row.name]
        ranked.append(replace(row, rank=ranked[-1].rank if equal else position + 1, ranks=ranks))
    return ranked


def standing_of(results: Iterable[DefenseResult]) -> Standing | None:
    """Return the standing of the rows that have a rank; None without such rows, or if they share no image."""
    return standing(ranked_results(results))


def ranked_results(results: Iterable[DefenseResult]) -> list[DefenseResult]:
    """Return the results that have a rank, in the order of `rank`."""
    rows, _ = _sorted(_row(result, ()) for result in results)
    return [row.result for row in rows if not _unknown(row)]


def shares_of_images(result: DefenseResult) -> OutcomeShares | None:
    """Return the shares of images by their share of correct fresh draws.

    On a board with a stopping rule the intervals are those of sequences, like all others. The result is None for a
    deterministic defense, and if an image ERRORED.
    """
    scored = result.scored
    if not result.random or not scored.any() or result.errored:
        return None
    right = np.count_nonzero(result.fresh[scored], axis=1)
    confidence = result.board["confidence"]
    found = outcome_shares(right, result.fresh_draws, confidence)
    if not result.anytime:
        return found
    each = [outcome_shares([count], result.fresh_draws) for count in right]  # 0 or 1 for each image
    method = interval_method(deterministic=True, anytime=True)

    def sequence(share: str) -> Estimate:
        return interval([getattr(one, share).value for one in each], method, confidence)

    return OutcomeShares(sequence("nearly_always"), sequence("majority"), sequence("nearly_never"), found.draws)


def _row(result: DefenseResult, warnings: tuple[ResultWarning, ...]) -> Row:
    cells = tuple(_cell(result, attack) for attack in result.attacks)
    reasons = [reason for attack in result.common for reason in attack.reasons]
    reasons += result.worst_case.reasons if result.errored else ()
    proven = certificates(result)
    return Row(
        rank=None,
        result=result,
        clean=result.clean,
        robust=result.robust if result.attacked else None,
        cells=cells,
        strongest=_most_broken(result) if result.cascade else _lowest(cells, _no_attacks(result)),
        errored=result.errored,
        reason=reasons[0] if reasons else "",
        cost=cost_of(result),
        certified=None if proven is None else proven.estimate,
        warnings=warnings,
        bounds=result.bounds if result.attacked else None,
        bracket=result.bracket if result.attacked else None,
        shares=shares_of_images(result) if result.attacked else None,
        best_known=best_known(result),
    )


def _cell(result: DefenseResult, attack: AttackResult) -> AttackScore:
    spared = result.spared(attack)
    return AttackScore(
        attack.name,
        result.accuracy(attack),
        attack.count(Outcome.ERRORED),
        attack.failed,
        int(spared.sum()),
        bool(spared.all()),
    )


def _no_attacks(result: DefenseResult) -> set[str]:
    """Return the names of attacks that are not compared: the clean images, certificates, and bespoke attacks."""
    others = (attack.name for attack in result.attacks if certifies(attack) or attack not in result.common)
    return {CLEAN, *others}


def _most_broken(result: DefenseResult) -> str | None:
    """Return the attack that broke the most images; of several, the first in the board's order."""
    none = _no_attacks(result)
    asked = (
        attack for attack in result.attacks if attack.name not in none and not attack.skipped and not attack.failed
    )
    strongest = max(asked, key=lambda attack: attack.count(Outcome.MISCLASSIFIED), default=None)
    return None if strongest is None else strongest.name


def _lowest(cells: Iterable[AttackScore], no_attacks: Collection[str]) -> str | None:
    """Return the attack with the lowest accuracy over the images that did not ERROR; it was run on all images."""
    found = {
        cell.attack: cell.estimate.value * cell.estimate.n / (cell.estimate.n - cell.errored)
        for cell in cells
        if cell.attack not in no_attacks
        and cell.estimate is not None
        and cell.estimate.n > cell.errored
        and not cell.spared
    }
    return min(found, key=lambda attack: found[attack]) if found else None


def _unknown(row: Row) -> bool:
    return row.robust is None


def _sorted(rows: Iterable[Row]) -> tuple[list[Row], dict[str, Order]]:
    """Return the rows in the order of their ranks, and the key of each by its name; equal keys share a rank."""
    rows = sorted(rows, key=_order)
    order = {row.name: _order(row) for row in rows}
    known = [row.result for row in rows if not _unknown(row)]
    if any(result.images != known[0].images for result in known):
        shared, values = on_shared_images(known)
        means = values.mean(axis=1) if shared else ()
        for result, mean in zip(known, means, strict=bool(shared)):
            _, _, clean, name = order[result.name]
            order[result.name] = (False, -comparable(float(mean)), clean, name)
    return sorted(rows, key=lambda row: order[row.name]), order


def _order(row: Row) -> Order:
    return (
        _unknown(row),
        -comparable(row.robust.value if row.robust else row.bounds[1].value if row.bounds else 0.0),
        -comparable(row.clean.value if row.clean else 0.0),
        row.name,
    )
