"""Indicators of attack failure (Pintor et al. 2022, arXiv:2106.09947), as warnings of a row.

Computed here is what records show: silent success, incomplete optimisation, an increasing loss, success by transfer
only, and unreachable misclassification. Gradients of zero, and attacks without gradients that are stronger, are found
by `results.gradient_masking`, here also on the board of the ladder. Noisy gradients need calls of the defense:
`purebench check` compares gradients with finite differences, and one draw per gradient with several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from purebench.core.warning_codes import OF_GRADIENTS, ResultWarning, WarningCode
from purebench.records.outcome import Outcome
from purebench.results.attack_claims import attack_claim
from purebench.results.distances import nearest_distances
from purebench.results.gradient_masking import doubts
from purebench.results.grading.convergence import BACK, LEVEL, MARGIN, clearly_above, decide, significant_falls
from purebench.results.grading.evidence import Convergence, ConvergenceStatus, Fall
from purebench.results.grading.images_needed import least_images
from purebench.results.grading.ladder import Ladder, read_ladder
from purebench.results.results import DefenseResult
from purebench.statistics import missed_per_image, one_sided_bound

MISSED = 0.05
"""Share of images that attacks without a limit, and attacks with the gradient, may miss, as in the check with an
unbounded attack."""
PASSED_ON = OF_GRADIENTS | {WarningCode.GRADIENT_FREE_STRONGER}
"""Codes of warnings that the attacks of the ladder pass on to the row."""

FLAT = (
    "the accuracy does not fall from random noise to the strongest rung of the ladder, which is what gradient masking "
    "looks like; run purebench check on this defense, and attack it by a gradient that is not masked (bpda, surrogate, "
    "transfer)"
)
INCOMPLETE = (
    "the accuracy still falls with more effort of the attack, so it is too high; raise steps, EOT or restarts, or set "
    "effort: auto (which needs at least {} images)"
)
INCREASING = (
    "more effort of the attack leaves a higher accuracy than less effort does, so the attack does not maximise its "
    "loss; use another loss, or more EOT samples"
)
PARTLY = (
    "attacks without the gradient of the defense break images that neither a rung nor another attack with it breaks, "
    "so the gradient may be masked on a part of the images or beyond some effort; attack these by a surrogate, bpda or "
    "purebench break; images that only they break"
)
PARTLY_RANDOM = (
    "attacks without the gradient of the defense leave a lower accuracy on single images than every attack with it, by "
    f"significantly more than {100 * MISSED:g} points on average, so the gradient may be masked on a part of the "
    "images or beyond some effort; attack by a surrogate, bpda or purebench break"
)
TRANSFERRED = (
    "images found on another model lower the accuracy more than the strongest rung with the gradient of the defense "
    "does ({}), so this gradient misleads the attack; attack by the gradient of a surrogate or bpda"
)
SILENT = (
    "attacks report a success, but the image that they return is classified correctly ({}), so the point that they "
    "return is not the best one on their path; keep the best point; images"
)
UNREACHED = (
    "attacks without a limit of the distance ({}) find no adversarial image at any distance, although every image can "
    "become one of another class; use more steps, another loss or another gradient; images"
)


def failure_indicators(
    own: DefenseResult, ladder: DefenseResult | None, found: Convergence | None = None
) -> tuple[ResultWarning, ...]:
    """Return the warnings that the attacks on a row failed.

    Args:
        own: the result of the row on its board.
        ladder: its result on the board of the ladder; None if there is none.
        found: the convergence that the ladder shows; None to decide it here.
    """
    warnings = [*_silent_success(own), *_unreachable(own)]
    if ladder is not None and (read := read_ladder(own, ladder)) is not None:
        status = decide(read)[0] if found is None else found.status
        own_rungs = [_named(one, len(read.images)) for one in of_ladder(read, status, own.random)]
        passed_on = [_named(one, len(ladder.images)) for one in doubts(ladder) if one.code in PASSED_ON]
        warnings += [*own_rungs, *passed_on]
    return tuple(warnings)


def indicators(
    results: Sequence[DefenseResult], ladders: Sequence[DefenseResult], found: Mapping[str, Convergence]
) -> dict[str, tuple[ResultWarning, ...]]:
    """Return the indicators of attack failure of each row, by its name.

    Args:
        results: the results of the rows on their board.
        ladders: the results of the rows on the board of the ladder; may be empty.
        found: the convergence of the rows that have a ladder, by name.
    """
    of = {result.name: result for result in ladders}
    return {
        result.name: failure_indicators(result, of.get(result.name), found.get(result.name))
        for result in results
        if not result.failed
    }


def _named(warning: ResultWarning, images: int) -> ResultWarning:
    """Return a warning of the ladder that names its images, which may be fewer than those of the board."""
    return replace(warning, text=f"ladder of effort ({images} images): {warning.text}")


def of_ladder(read: Ladder, status: ConvergenceStatus, random: bool) -> Iterator[ResultWarning]:
    """Yield the warnings that a ladder shows.

    Args:
        read: the rungs and the other attacks.
        status: the status that `convergence.decide` gives it.
        random: whether the defense is random.
    """
    if status is ConvergenceStatus.FLAT:
        yield ResultWarning(WarningCode.FLAT_LADDER, FLAT)
    if len(read.rungs) <= BACK + 1:
        return
    shown = [] if status is ConvergenceStatus.CONVERGED else significant_falls(read)
    if any(one.fall is Fall.RUNGS for one in shown):
        least = least_images(MARGIN, LEVEL / 2)
        yield ResultWarning(WarningCode.INCOMPLETE_OPTIMISATION, INCOMPLETE.format(least))
    last = read.rungs[-1].values
    if any(clearly_above(read.images, [(last, rung.values) for rung in read.rungs[1:-1]])):
        yield ResultWarning(WarningCode.INCREASING_LOSS, INCREASING)
    if names := [one.attack.name for one in shown if one.fall is Fall.OTHER and one.attack.elsewhere]:
        yield ResultWarning(WarningCode.TRANSFER_ONLY, TRANSFERRED.format(", ".join(names)))
    else:
        yield from _partly_masked(read, random)


def _partly_masked(read: Ladder, random: bool) -> Iterator[ResultWarning]:
    """Yield a warning if attacks without the gradient find too much that all attacks with it miss.

    The accuracies can hide this, because the attacks with the gradient may break more of the other images. On a
    deterministic defense, it is the share of images that only attacks without the gradient break; on a random one, how
    far the lowest accuracy without the gradient lies below the lowest with it, where it is lower, in the mean over
    images. The warning is false with a probability of at most `LEVEL` if this is at most `MISSED`. One draw of a random
    defense does not tell it. An attack that does both, such as AutoAttack, belongs to neither.
    """
    noise, *rungs = read.rungs
    along = [*rungs, *(other for other in read.others if other.attack.gradient_alone)]
    without = [noise, *(other for other in read.others if not other.attack.follows_gradient)]
    if random and noise.right.shape[1] == 1:
        return
    missed = missed_per_image(*(np.stack([one.right for one in several]) for several in (along, without)))
    if random and 2 * one_sided_bound((missed + 1) / 2, 1 - LEVEL, "low") - 1 > MISSED:
        yield ResultWarning(WarningCode.PARTLY_MASKED, PARTLY_RANDOM)
    if not random and one_sided_bound(missed, 1 - LEVEL, "low") > MISSED:
        yield ResultWarning(WarningCode.PARTLY_MASKED, PARTLY, int(missed.sum()), missed.size)


def _silent_success(own: DefenseResult) -> Iterator[ResultWarning]:
    """Yield a warning for images that only an attack's own verdict broke; a random defense may be broken by chance."""
    if own.random:
        return
    silent = np.zeros(len(own.images), dtype=np.bool_)
    names = []
    held = np.array([outcome is Outcome.ROBUST for outcome in own.worst_case.outcomes])
    for attack in own.attacks:
        if attack_claim(attack) is None:
            continue
        claimed = np.array([bool(claim) for claim in attack.claims])
        robust = np.array([outcome is Outcome.ROBUST for outcome in attack.outcomes])
        if (found := claimed & robust & held).any():
            names.append(attack.name)
            silent |= found
    if names:
        yield ResultWarning(
            WarningCode.SILENT_SUCCESS, SILENT.format(", ".join(names)), int(silent.sum()), len(own.images)
        )


def _unreachable(own: DefenseResult) -> Iterator[ResultWarning]:
    """Yield a warning if minimum-norm attacks find no adversarial image at any distance on too many images."""
    found = nearest_distances(own)
    if found is None or not found.distances:
        return
    missing = np.array([distance is None for distance in found.distances], dtype=np.float64)
    if one_sided_bound(missing, 1 - LEVEL, "low") > MISSED:
        yield ResultWarning(
            WarningCode.UNREACHABLE, UNREACHED.format(", ".join(found.attacks)), found.missing, len(found.distances)
        )
