"""Tests that damaged or malicious files never cause a traceback: `python benchmarks/hostile_files.py`.

A small board, its results and its store are mutated: bytes flipped and deleted, files truncated, values of other types,
keys renamed and duplicated, huge numbers, deep nesting, zip bombs. Each file is read as the command line reads it, in
one process, and a share of them by the command line itself. Bars: only PurebenchErrors of one line, under five
seconds and one gigabyte each; exit codes 0, 1 and 2. --seed decides all mutations. Exit code 1 if a bar is missed.

--quick makes few mutations and only shows that everything runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from common.reporting import Report, fixed, parser, perform, text
from hostile.reading import KINDS, SECONDS, by_command_line, fuzz
from hostile.sample import Sample, make_sample


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; see the top of the file."""
    words = parser(__doc__)
    words.add_argument("--quick", action="store_true", help="few mutations")
    options = words.parse_args(arguments)

    def measure(report: Report) -> None:
        with TemporaryDirectory() as home:
            measured(report, make_sample(Path(home)))

    def measured(report: Report, sample: Sample) -> None:
        rows = []
        for kind, count in zip(KINDS, (20, 20, 5) if options.quick else (2000, 2000, 500), strict=True):
            found = fuzz(kind, count, options.seed, sample)
            rows.append({"name": kind, "read": found.read, "refused": found.refused, "slowest": found.slowest})
            _no_faults(report, f"{kind}: one line, under {SECONDS:g} s and 1 GiB each", found.faults)
        columns = [("name", "files", text), ("read", "read", fixed(0)), ("refused", "refused", fixed(0))]
        report.show("mutated files", rows, [*columns, ("slowest", "slowest, s", fixed(2))])
        faults = by_command_line(3 if options.quick else 100, options.seed, sample)
        _no_faults(report, "by the command line: one line, exit code 0, 1 or 2", faults)

    return perform("hostile files", options, measure)


def _no_faults(report: Report, what: str, faults: list[str]) -> None:
    for fault in faults[:20]:
        print(fault, file=sys.stderr)
    report.at_most(what, len(faults), 0)


if __name__ == "__main__":
    sys.exit(main())
