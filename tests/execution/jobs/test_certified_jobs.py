"""Tests of a board with certificates: its records, results, ranking column and counts of forward passes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from purebench.boards.parse import load_board
from purebench.execution.backends.worker import run
from purebench.execution.context import Context, prepare
from purebench.execution.jobs.job_record import JobInputs, JobResult
from purebench.records.outcome import Outcome
from purebench.records.record import Record
from purebench.results.files.export import export_results, load_results
from purebench.results.merge import merge
from purebench.results.ranking.rank import rank

from boards import write_board  # isort: skip

PARTS = {
    "threat": {"norm": "l2", "radius": 0.1},
    "verify": {"draws": 2},
    "attacks": {"clean": {"use": "clean"}, "certify": {"use": "certify(n0=10, n=80)"}},
    "defenses": {
        "none": "none",
        "smoothed": "smoothing(sigma=0.1, draws=4)",
        "voted": "vote(defense='gaussian-noise(sigma=0.1)', draws=3)",
    },
}


def all_records(ready: Context) -> list[Record]:
    """Runs all jobs, each with the results of its dependencies, and returns their records."""
    done: dict[str, JobResult] = {}
    for job in ready.jobs():
        done[job.key] = run(job, ready, JobInputs([done[key] for key in job.needs]))
    return [finding.record for finding in done.values()]


def test_certificates_appear_in_records_results_and_ranking(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path, images=8, block=4, **PARTS))
    ready = prepare(board)
    records = {(one.defense, one.attack, one.block): one for one in all_records(ready)}
    assert records["none", "certify", 0].outcomes == [Outcome.SKIPPED] * 4
    assert "no certificate" in records["voted", "certify", 0].reason

    certified, clean = records["smoothed", "certify", 0], records["smoothed", "clean", 0]
    assert (clean.forwards, clean.certified) == (4 * 2 * 4, [])  # images × draws × votes
    assert certified.forwards == clean.forwards + 4 * (10 + 80)
    assert records["voted", "clean", 0].forwards == 4 * 2 * 3
    largest = 0.1 * 1.384  # sigma · Φ^-1(0.001^(1/80)) = 0.1 · Φ^-1(0.9173)
    assert all(radius is None or 0 <= radius < largest + 0.01 for radius in certified.certified)
    assert any(radius for radius in certified.certified)
    assert records["smoothed", "clean", 0].pictures[0].purified
    assert Record.from_json(certified.to_json()) == certified

    results = {found.name: found for found in merge(board, records.values())}
    rows = {row.name: row for row in rank(results.values())}
    radii = [*certified.certified, *records["smoothed", "certify", 1].certified]
    share = sum(radius is not None and radius > 0.1 for radius in radii) / 8
    estimate = rows["smoothed"].certified
    assert estimate is not None
    assert (estimate.value, estimate.n, estimate.method) == (share, 8, "clopper-pearson")
    assert rows["none"].certified is None
    assert rows["smoothed"].strongest is None  # a certificate is not an attack

    export_results(tmp_path / "results", results.values())
    assert {found.name: found for found in load_results(tmp_path / "results")} == results


def test_records_without_the_certified_field_load(tmp_path: Path) -> None:
    board = load_board(write_board(tmp_path, images=4, **PARTS | {"defenses": {"none": "none"}}))
    ready = prepare(board)
    records = all_records(ready)
    old = asdict(records[0])
    del old["certified"]
    assert Record.from_json(json.dumps(old)) == records[0]
    (result,) = merge(board, records)
    assert all("certified" not in attack for attack in result.to_dict()["attacks"])
