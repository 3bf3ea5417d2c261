"""Simulates how often claims in tests are decided wrongly, and on how many images: `python benchmarks/claims.py`.

Simulates the pytest fixture: images come block by block, and the claim is evaluated after every step, up to
1,000 images. Three kinds: `at_least` and `not_worse_than` at a truth that lies exactly at, or just beyond, the number
claimed (the hardest case), and `honest` as eight checks of paired attacks, all sound or one of them off by the
tolerance. Bars: either kind of error in at most (1 - confidence) / 2 of the runs, within three standard errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from common.reporting import Report, fixed, parser, perform, progress, text

from purebench.checks.finding import CheckStatus, compared, judged, verdict
from purebench.testing.decision import at_least, not_worse

Floats = npt.NDArray[np.float64]
Decide = Callable[[int], CheckStatus]
"""Maps a number of images to the result after them."""

CONFIDENCE, TOLERANCE, CHECKS, MOST, BLOCK = 0.95, 0.2, 8, 1000, 16
EPSILON = 1e-9


def looks() -> Sequence[int]:
    """Return the number of images at every look; each adds a block, or an eighth if that is more, as claims do."""
    ends = [BLOCK]
    while ends[-1] < MOST:
        ends.append(min(MOST, ends[-1] + BLOCK * max(1, ends[-1] // BLOCK // 8)))
    return ends


def ended(decide: Decide) -> tuple[CheckStatus, int]:
    """Return the first decision and the number of images it took."""
    for seen in looks():
        if (result := decide(seen)) is not CheckStatus.UNDECIDED:
            return result, seen
    return CheckStatus.UNDECIDED, MOST


def answers(rng: np.random.Generator, share: float, rows: int = 1) -> Floats:
    """Return the share of 16 draws on which a random defense of this accuracy is right, [rows, MOST]."""
    q = rng.beta(2 * share, 2 * (1 - share), (rows, MOST)) if 0 < share < 1 else np.full((rows, MOST), share)
    return rng.binomial(16, q) / 16


def claim_of_accuracy(claimed: float) -> Callable[[np.random.Generator], Decide]:
    """Claim this accuracy of a defense with an accuracy of 50 %."""

    def begin(rng: np.random.Generator) -> Decide:
        (values,) = answers(rng, 0.5)
        return lambda seen: at_least(values[:seen], claimed, CONFIDENCE).result

    return begin


def claim_of_no_loss(loss: float, margin: float) -> Callable[[np.random.Generator], Decide]:
    """Claim that a defense is worse than another by at most `margin`, where it is worse by `loss`."""

    def begin(rng: np.random.Generator) -> Decide:
        (worse,), (better,) = answers(rng, 0.4 - loss), answers(rng, 0.4)
        return lambda seen: not_worse(worse[:seen], better[:seen], margin, CONFIDENCE).result

    return begin


def claim_of_trust(fault: float) -> Callable[[np.random.Generator], Decide]:
    """Claim that a defense is honest by eight checks, of which the first is off by `fault`."""

    def begin(rng: np.random.Generator) -> Decide:
        strong, weak = answers(rng, 0.4, CHECKS), answers(rng, 0.4, CHECKS)
        strong[0] = answers(rng, 0.4 + fault)

        def decide(seen: int) -> CheckStatus:
            pairs = zip(strong[:, :seen], weak[:, :seen], strict=True)
            return verdict(judged([compared("", "", *pair, TOLERANCE) for pair in pairs], (1 - CONFIDENCE) / 2))

        return decide

    return begin


CASES = {
    "at_least, true at the number": (claim_of_accuracy(0.5), CheckStatus.FAILS),
    "at_least, false by a small difference": (claim_of_accuracy(0.5 + EPSILON), CheckStatus.HOLDS),
    "at_least, true by 10 points": (claim_of_accuracy(0.4), CheckStatus.FAILS),
    "at_least, false by 10 points": (claim_of_accuracy(0.6), CheckStatus.HOLDS),
    "not_worse_than, true at the margin": (claim_of_no_loss(0.1, 0.1), CheckStatus.FAILS),
    "not_worse_than, false by a small difference": (claim_of_no_loss(0.1, 0.1 - EPSILON), CheckStatus.HOLDS),
    "honest, all sound": (claim_of_trust(0.0), CheckStatus.FAILS),
    "honest, one violated by the tolerance": (claim_of_trust(TOLERANCE), CheckStatus.HOLDS),
    "honest, one violated by twice the tolerance": (claim_of_trust(2 * TOLERANCE), CheckStatus.HOLDS),
}
"""The claims, each with its wrong result."""


def simulate(report: Report, options: argparse.Namespace) -> None:
    """Simulate every case `repeats` times."""
    rows, level = [], (1 - CONFIDENCE) / 2
    with progress() as bars:
        bar = bars.add_task("simulating", total=len(CASES) * options.repeats)
        for number, (name, (begin, wrong)) in enumerate(CASES.items()):
            rng, results, images = np.random.default_rng([options.seed, number]), [], []
            for _ in range(options.repeats):
                result, seen = ended(begin(rng))
                results.append(result)
                images.append(seen)
                bars.advance(bar)
            share = {kind: results.count(kind) / options.repeats for kind in CheckStatus}
            row = {"case": name, "images": float(np.median(images)), "wrong": share[wrong]}
            rows.append(
                row
                | {kind.value: share[kind] for kind in (CheckStatus.HOLDS, CheckStatus.FAILS, CheckStatus.UNDECIDED)}
            )
            chance = 3 * (level * (1 - level) / options.repeats) ** 0.5
            report.at_most(f"{name}: wrong decisions", share[wrong], level + chance)
    columns = [("case", "claim", text), ("wrong", "wrong", fixed(4)), ("images", "median images", fixed(0))]
    columns += [(kind, kind, fixed(3)) for kind in ("holds", "fails", "undecided")]
    report.show(f"Claims at {CONFIDENCE:.0%}, {options.repeats} runs each, up to {MOST} images", rows, columns)


def main(arguments: list[str] | None = None) -> int:
    """Run the simulation; the exit code says whether every bar was met."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=400, help="runs of each case (400)")
    options = made.parse_args(arguments)
    return perform("claims", options, lambda report: simulate(report, options))


if __name__ == "__main__":
    sys.exit(main())
