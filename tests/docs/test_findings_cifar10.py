"""Tests that the sentences of docs/findings.md on CIFAR-10 follow from the committed results."""

from __future__ import annotations

from types import ModuleType

import pytest

from purebench.report import Report
from purebench.results.ranking.comparisons import Side, comparisons

COMBINATIONS = {"fast-at-mlvgm": "the MLVGM", "fast-at-noise": "noise", "fast-at-jpeg": "JPEG"}


@pytest.fixture(scope="module")
def report(findings: ModuleType) -> Report:
    found = findings.report_of("cifar10-small")
    assert isinstance(found, Report)
    return found


def test_what_purifiers_alone_keep(findings_text: str, report: Report) -> None:
    kept = {row.name: 100 * row.robust.value for row in report.rows if row.robust is not None}
    most = max(value for name, value in kept.items() if not name.startswith("fast-at"))
    told = f"keeps more than {most:.1f} % of the images; the adversarially trained classifier alone keeps"
    assert f"{told} {kept['fast-at']:.1f} %" in findings_text


def test_what_the_attacks_remove(findings: ModuleType, findings_text: str, report: Report) -> None:
    removed = {}
    for name in ("mlvgm-cosine", "vae"):
        row = report[name]
        (blind,) = (cell.estimate.value for cell in row.cells if cell.attack == findings.BLIND and cell.estimate)
        assert row.robust is not None
        removed[name] = f"{100 * (blind - row.robust.value):.1f}"
    assert f"remove {removed['mlvgm-cosine']} points of what `mlvgm-cosine` has" in findings_text
    assert f"and {removed['vae']} of what the VAE has" in findings_text
    (pair,) = (pair for pair in findings.pairs_of(report) if "vae" in (pair.a, pair.b))
    assert not pair.apart


def test_what_a_purifier_changes_in_front_of_the_trained_classifier(
    findings: ModuleType, findings_text: str, report: Report
) -> None:
    sides = {row.name: Side(row.name, row.result) for row in report.rows}
    found = comparisons([(sides[name], sides["fast-at"]) for name in COMBINATIONS])
    told = {pair.a: findings.points(pair.found.difference) for pair in found}
    assert not any(pair.apart for pair in found)
    assert ", ".join(f"{told[name]} with {words}" for name, words in COMBINATIONS.items()) in findings_text


def test_rows_that_were_not_run_are_named(findings: ModuleType, report: Report) -> None:
    names = {one.name for one in report.board.defenses} - {row.name for row in report.rows}
    assert names == {"mlvgm-linear"}
    assert not any(findings.family(row.result) == findings.DIFFUSION for row in report.rows)
