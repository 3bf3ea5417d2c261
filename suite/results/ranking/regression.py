"""Decides whether a new result of a defense is worse than an old one, on the same images and under the same attacks.

The difference new - old is tested in two ways. The new result is not worse if the interval of the difference excludes a
loss of more than the margin (non-inferiority). It is worse if the paired test shows a loss and the interval does not
exclude one beyond the margin. Each error has a probability of at most (1 - confidence) / 2; the p-values of several
rows are adjusted by Holm. A whole folder is "not worse" only if this is shown for every row, which needs no correction
(intersection-union; Berger, Technometrics 24, 1982).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from purebench.core.errors import PurebenchError
from purebench.results.ranking.comparisons import Pair, Side, comparisons
from purebench.results.results import DefenseResult


class Change(StrEnum):
    """Change of a result: whether the new one is worse than the old one."""

    NOT_WORSE = "not worse"
    WORSE = "worse"
    UNDECIDED = "undecided"


ASIDE = ("confidence", "name", "stop")
"""Settings of a board that do not decide the answers of a defense."""
EXIT_CODES: Mapping[Change, int] = {Change.NOT_WORSE: 0, Change.WORSE: 1, Change.UNDECIDED: 3}
"""Exit codes of `purebench compare OLD NEW`; 2 is that of invalid input."""


@dataclass(frozen=True)
class Regression:
    """The comparison of a new result with an old one.

    Attributes:
        name: the name of the row.
        pair: the comparison of the new result (a) with the old one (b).
        verdict: whether the new result is worse.
        reasons: differences of the conditions, which leave the verdict undecided.
        remarks: differences that may explain a difference of the accuracies, but leave the verdict as it is.
        unchanged: whether both are results of the same defense with the same answers, so that there is no loss.
    """

    name: str
    pair: Pair
    verdict: Change
    reasons: Sequence[str] = ()
    remarks: Sequence[str] = ()
    unchanged: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "name": self.name,
            "verdict": str(self.verdict),
            "reasons": list(self.reasons),
            "remarks": list(self.remarks),
            "unchanged": self.unchanged,
            **self.pair.to_dict(),
        }


def regressions(
    sides: Iterable[tuple[Side, Side]],
    margin: float,
    *,
    attack: str | None = None,
    confidence: float | None = None,
    shared: bool = False,
) -> list[Regression]:
    """Compare new results with old ones.

    Args:
        sides: pairs of the old and the new result of a row.
        margin: largest loss of accuracy that is accepted, in [0,1].
        attack: the attack under which accuracies are compared; None for the robust accuracies.
        confidence: the confidence of the intervals; None for the board's.
        shared: whether to compare on the images that both have; otherwise different images are an error.

    Returns:
        The comparisons, in the order of the pairs.

    Raises:
        PurebenchError: the margin is out of range, or as for `comparisons`.
    """
    if not 0 <= margin <= 1:
        raise PurebenchError(f"--margin: expected a fraction, such as 0.05 for 5 points, but got {margin!r}.")
    both = list(sides)
    pairs = comparisons([(new, old) for old, new in both], attack=attack, confidence=confidence, shared=shared)
    found = []
    for (old, new), pair in zip(both, pairs, strict=True):
        reasons = other_conditions(old.result, new.result, images=not shared)
        same = not reasons and unchanged(old.result, new.result)
        verdict = Change.NOT_WORSE if same else Change.UNDECIDED if reasons else decided(pair, margin)
        remarks = [told] if not reasons and (told := other_classifier(old.result, new.result)) else []
        found.append(Regression(new.name, pair, verdict, tuple(reasons), tuple(remarks), same))
    return found


def decided(pair: Pair, margin: float) -> Change:
    """Decide from the comparison of a new result (a) with an old one (b).

    Args:
        pair: the comparison.
        margin: largest loss of accuracy that is accepted, in [0,1].

    Returns:
        The verdict.
    """
    difference = pair.found.difference
    if difference.low >= -margin:
        return Change.NOT_WORSE
    return Change.WORSE if pair.apart and difference.value < 0 else Change.UNDECIDED


def overall(verdicts: Iterable[Change]) -> Change:
    """Return the verdict on several rows: worse if one is, not worse if all are not, else undecided."""
    every = set(verdicts)
    if Change.WORSE in every:
        return Change.WORSE
    return Change.NOT_WORSE if every == {Change.NOT_WORSE} else Change.UNDECIDED


def unchanged(old: DefenseResult, new: DefenseResult) -> bool:
    """Return whether two results are of the same defense (spec, code and weights) with the same answers on every image.

    Its accuracy cannot have changed, whatever the width of an interval.

    Args:
        old: the old result.
        new: the new result.
    """
    code = [_code(one).get("defense") for one in (old, new)]
    if not code[0] or code[0] != code[1] or (old.spec, old.weights) != (new.spec, new.weights):
        return False
    return all(_answers(old, name) == _answers(new, name) for name in ("images", "labels", "attacks", "worst_case"))


def _answers(result: DefenseResult, name: str) -> Any:
    """Return the part of a field that decides scores: not, for example, the distances of an attack."""
    if name == "attacks":
        return [(one.name, list(one.outcomes), list(one.draws)) for one in result.attacks]
    if name == "worst_case":
        return list(result.worst_case.outcomes), list(result.worst_case.draws)
    return list(getattr(result, name))


def other_conditions(old: DefenseResult, new: DefenseResult, *, images: bool = True) -> list[str]:
    """Return the conditions other than the defense in which two results differ: the board, and the code of attacks.

    Args:
        old: the old result.
        new: the new result.
        images: whether a different number of images counts as a difference of the boards.

    Returns:
        The differences in words; [] if only the defense may explain a difference of the accuracies.
    """
    names = other_board(old.board, new.board, images=images)
    told = [f"the boards differ in {', '.join(names)}"] if names else []
    before, after = (_code(one).get("attacks") or {} for one in (old, new))
    changed = sorted(name for name in {*before} & {*after} if before[name] != after[name])
    told += [f"the code of attacks differs: {', '.join(changed)}"] if changed else []
    if bool(before) != bool(after):
        return [*told, "the code of attacks is known for one of them only"]
    unknown = sorted(({*before} ^ {*after}) & {*old.board["attacks"]} & {*new.board["attacks"]})
    return [*told, *([f"the code of attacks is known for one of them only: {', '.join(unknown)}"] if unknown else [])]


def other_classifier(old: DefenseResult, new: DefenseResult) -> str:
    """Return a remark if the code of the board's classifier or data set differs in two results, or is unknown in one.

    It leaves the verdict as it is: the defense is often in the same file as the classifier, so that any change of it
    changes this code.

    Args:
        old: the old result.
        new: the new result, under attacks of the same code.
    """
    before, after = (_code(one).get("shared") for one in (old, new))
    if before == after:
        return ""
    how = "differs" if before and after else "is known for one of them only"
    return f"the code of the classifier or of the data set {how}, so a difference may not be due to the defense alone"


def _code(result: DefenseResult) -> Mapping[str, Any]:
    """Return the hashes of the code of a result; {} if they are not known."""
    return result.provenance.get("code") or {}


def other_board(old: Mapping[str, Any], new: Mapping[str, Any], *, images: bool = True) -> list[str]:
    """Return the names of the settings in which the boards of two results differ and that decide answers.

    Args:
        old: the board of the old result.
        new: the board of the new result.
        images: whether a different number of images counts.
    """
    first, second = (
        board if images else {**board, "dataset": {**board["dataset"], "images": 0}} for board in (old, new)
    )
    return sorted(name for name in {*first, *second} - {*ASIDE} if first.get(name) != second.get(name))
