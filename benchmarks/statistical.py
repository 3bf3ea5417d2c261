"""Tests the guarantees of the statistics: `python benchmarks/statistical.py`.

Coverage of every interval, for binary answers exactly (a sum over the binomial distribution, at its infimum over p) and
for fractions of draws by simulation; the worst case in simulated worlds (statistical_parts/worlds.py); coverage of the
sequences at all of 2,000 looks; widths against an independent implementation; the bias of the worst case and of
resubmission; errors of rank groups; images that a run needs until it is decided; time and memory of a large board.
--seed, which is printed, decides all random numbers. A simulated share may miss its bar by three standard errors. Exit
code 1 if a bar is missed.

--quick makes few repeats and only shows that everything runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from common.reporting import Report, parser, perform
from statistical_parts import intervals, ranks, stopping, worst_case

PARTS: dict[str, Callable[[Report, argparse.Namespace], None]] = {
    "exact": intervals.exact_coverage,
    "simulated": intervals.simulated_coverage,
    "any-time": intervals.any_time,
    "widths": intervals.widths,
    "bias": worst_case.bias,
    "worst-case": worst_case.worst_case,
    "skewed-ranks": ranks.unequal_ranks,
    "committed-ranks": ranks.committed_ranks,
    "ranks": ranks.ranks,
    "stopping": stopping.stopping,
    "size": worst_case.size,
}


def main(arguments: list[str] | None = None) -> int:
    made = parser(__doc__)
    made.add_argument("--part", action="append", choices=sorted(PARTS), help="only this part; may be repeated (all)")
    made.add_argument("--repeats", type=int, default=1000, help="repeats of a simulation (1000)")
    made.add_argument(
        "--images", type=int, action="append", help="images of the worst case; may be repeated (48 and 500)"
    )
    made.add_argument("--quick", action="store_true", help="few repeats and sizes")
    options = made.parse_args(arguments)
    if options.quick:
        options.repeats = min(options.repeats, 40)
    options.part = options.part or list(PARTS)

    def work(report: Report) -> None:
        print(f"seed {options.seed}, {options.repeats} repeats")
        for name in options.part:
            PARTS[name](report, options)

    return perform("statistical", options, work)


if __name__ == "__main__":
    sys.exit(main())
